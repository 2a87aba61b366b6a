"""Figures as people read them; see `sana_wm.figures`."""

from sana_wm.figures import format_bytes, format_range, format_seconds, is_exact

__all__ = ["format_bytes", "format_range", "format_seconds", "is_exact"]
