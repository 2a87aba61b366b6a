"""Ends with exit code 0 and nothing to show for it."""
