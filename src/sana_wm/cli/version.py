"""`--version`: what a bug report needs, without loading any of it."""

from __future__ import annotations

import platform

from sana_wm import __version__
from sana_wm.machine import name_chip, version_of
from sana_wm.system import describe_system

PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "numpy")


def describe_versions() -> str:
    """Versions of this package, Python and what computes, the system and the chip, a line each."""
    facts = {
        "sana-wm": __version__,
        "python": platform.python_version(),
        **{name: version_of(name) or "not installed" for name in PACKAGES},
        "system": describe_system(),
        "chip": name_chip() or "not known",
    }
    return "\n".join(f"{name} {value}" for name, value in facts.items())
