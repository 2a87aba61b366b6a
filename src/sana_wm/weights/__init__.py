"""Checkpoint layouts, their verification, the tiny checkpoint."""
