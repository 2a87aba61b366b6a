"""The catalogue of the patch against the patch's own sources, both ways, and against a checkout."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from sana_wm.replacements.upstream_catalogue import changed_symbols, load_upstream_catalogue, upstream_fingerprint

ROOT = Path(__file__).resolve().parents[2]
PATCHES = load_upstream_catalogue()


@pytest.mark.parametrize("name", PATCHES)
def test_an_entry_says_what_why_where_and_what_proves_it(name: str, package: Path) -> None:
    patch = PATCHES[name]
    assert patch.id == name
    assert patch.why.strip()
    assert patch.drop_when.strip()
    assert patch.patch_points
    assert all(re.fullmatch(r"[\w/]+\.py:\d+", point) for point in patch.patch_points)
    for symbol in patch.replaced_by:
        module, _, path = symbol.partition(":")
        found = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    for test in patch.proven_by:
        file, _, function = test.partition("::")
        assert re.search(rf"^def {function}\(", (ROOT / file).read_text(), re.MULTILINE), test


def test_every_replacement_has_an_entry_and_every_entry_is_replaced(package: Path) -> None:
    from sana_wm_mps.guards import KERNEL_MODULES
    from sana_wm_mps.replacements import REPLACEMENTS

    by_attribute = {symbol for patch in PATCHES.values() for symbol in patch.replaces if ":" in symbol}
    replaced = {symbol for symbol in REPLACEMENTS if not symbol.endswith(":torch")}
    assert replaced <= by_attribute
    assert {symbol for symbol in by_attribute if symbol.startswith("diffusion")} <= replaced
    assert set(KERNEL_MODULES) <= set(PATCHES["pr379-kernels"].replaces)
    ours = {symbol for patch in PATCHES.values() for symbol in patch.replaced_by}
    assert {symbol for target, symbol in REPLACEMENTS.items() if target in replaced} <= ours


def test_a_fingerprint_is_that_of_the_source_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "b.py"
    file.write_text("class C:\n    def f(self):\n        return 1\n")
    before = upstream_fingerprint(tmp_path, "a.b:C.f")
    file.write_text("# moved\nclass C:\n    x = 0\n\n    def f(self):\n        return 1\n")
    assert upstream_fingerprint(tmp_path, "a.b:C.f") == before
    file.write_text("class C:\n    def f(self):\n        return 2\n")
    assert upstream_fingerprint(tmp_path, "a.b:C.f") != before
    assert upstream_fingerprint(tmp_path, "a.b:C.g") is None
    assert upstream_fingerprint(tmp_path, "a.c") is None


def test_the_checkout_is_the_one_that_the_entries_were_written_against(pr_root: Path) -> None:
    assert changed_symbols(pr_root) == ()
    for patch in PATCHES.values():
        for point in patch.patch_points:
            file, _, line = point.partition(":")
            assert len((pr_root / file).read_text().splitlines()) >= int(line), point


def test_no_line_of_upstream_is_in_the_patch(pr_root: Path, package: Path) -> None:
    """Lines long enough to be somebody's, other than those that name upstream's interface."""
    upstreams = {
        line.strip() for path in (pr_root / "diffusion").rglob("*.py") for line in path.read_text().splitlines()
    }
    ours = [
        line.strip()
        for path in package.rglob("*.py")
        for line in path.read_text().splitlines()
        if not re.match(r"\s*(from|import|def|return|#|\"\"\")\b", line)
    ]
    assert [line for line in ours if len(line) > 40 and line in upstreams] == []
