"""The folders that travel with the package: `configs`, `templates`, `patches`.

They stand at the top of the source tree, where people look for them, and inside an installed package, where a wheel
puts them (pyproject.toml, `force-include`).
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "_shipped"
_TOP = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1]

CONFIGS = _TOP / "configs"
TEMPLATES = _TOP / "templates"
PATCHES = _TOP / "patches"
