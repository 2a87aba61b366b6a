"""Write `patches/sana-wm-pr379-mps.patch` from the sources beside this file: `python patches/pr379/make_patch.py`.

Attention and the delta rule are those of sana-wm's own engines.
"""

from __future__ import annotations

from pathlib import Path

from sana_wm.replacements.patch_format import write_patch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATCH = HERE.parent / "sana-wm-pr379-mps.patch"
PACKAGE = "sana_wm_mps"
#: Where a shared module lies here, by its name in the package. Each imports torch, and others of these, only.
SHARED = {
    "attention": "sana_wm.models.attention",
    "delta_rule": "sana_wm.models.stage1.delta_rule",
    "kernel_rules": "sana_wm.planning.kernels",
    "pacing": "sana_wm.models.pacing",
}


def package_files() -> dict[str, str]:
    """Content of every file of the package, by its path in the checkout."""
    own = {
        path.relative_to(HERE).as_posix(): path.read_text("utf-8") for path in sorted((HERE / PACKAGE).rglob("*.py"))
    }
    return own | {f"{PACKAGE}/{name}.py": _read_shared(module) for name, module in SHARED.items()}


def _read_shared(module: str) -> str:
    text = (ROOT / "src" / module.replace(".", "/")).with_suffix(".py").read_text("utf-8")
    for name, source in SHARED.items():
        text = text.replace(f"from {source} import", f"from {PACKAGE}.{name} import")
    return text


if __name__ == "__main__":
    PATCH.write_text(write_patch(package_files()), encoding="utf-8")
