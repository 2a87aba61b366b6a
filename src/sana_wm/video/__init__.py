"""Frames to MP4, overlay, contact sheet."""
