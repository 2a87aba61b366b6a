"""What is kept per user and machine between runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path


def cache_folder(environment: Mapping[str, str], system: str = sys.platform) -> Path:
    """Where this user's caches are kept on this platform."""
    home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    if system == "darwin":
        return home / "Library" / "Caches" / "sana-wm"
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else home / ".cache") / "sana-wm"
