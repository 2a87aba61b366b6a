"""Write `patches/sana-wm-pr379-mps.patch` from the sources beside this file: `python patches/pr379/make_patch.py`.

Attention and the delta rule are those of sana-wm's own engines: they need nothing but torch, and go in as they are.
"""

from __future__ import annotations

from pathlib import Path

from sana_wm.patches.patch_format import write_patch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATCH = HERE.parent / "sana-wm-pr379-mps.patch"
PACKAGE = "sana_wm_mps"
SHARED = {
    "attention.py": "src/sana_wm/models/attention.py",
    "delta_rule.py": "src/sana_wm/models/stage1/delta_rule.py",
}


def package_files() -> dict[str, str]:
    """Content of every file of the package, by its path in the checkout."""
    own = {
        path.relative_to(HERE).as_posix(): path.read_text("utf-8") for path in sorted((HERE / PACKAGE).rglob("*.py"))
    }
    shared = {f"{PACKAGE}/{name}": (ROOT / source).read_text("utf-8") for name, source in SHARED.items()}
    return own | shared


if __name__ == "__main__":
    PATCH.write_text(write_patch(package_files()), encoding="utf-8")
