"""Makes NVlabs/Sana's own SANA-WM code run on Apple Silicon (PyTorch MPS), CUDA and the CPU, without editing it.

`python -m sana_wm_mps ARGUMENTS` runs upstream's inference script with upstream's arguments. From Python:

    import sana_wm_mps
    sana_wm_mps.install()            # before anything of `diffusion` is imported
    from diffusion.model.nets import SanaMSVideoCamCtrl

`guards` stands in for what cannot be imported without CUDA, `replacements` for what MPS cannot compute or computes
wrongly; each entry there says what and why.
"""

from __future__ import annotations

from sana_wm_mps.guards import install_guards
from sana_wm_mps.settings import SETTINGS, Settings

__all__ = ["SETTINGS", "Settings", "install"]


def install() -> None:
    """Prepare this process for upstream's code and replace what it needs. A second call changes nothing."""
    install_guards()
    # Only now: this imports upstream's modules, through the guards.
    from sana_wm_mps.replacements import apply_replacements

    apply_replacements()
