"""The patch: made from its sources, only new files, applied to and removed from real git checkouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.pr379.conftest import git

from sana_wm.errors import HandoffError
from sana_wm.replacements.checkout import PACKAGE, load_patch
from sana_wm.replacements.patch_format import read_patch, write_patch

Run = Callable[..., tuple[int, str, str]]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file outside .git with its content."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_committed_patch_is_what_the_generator_makes(make_patch: Any) -> None:
    made = write_patch(make_patch.package_files())
    assert made == write_patch(make_patch.package_files())
    assert make_patch.PATCH.read_text() == made == load_patch()


def test_every_hunk_creates_a_file_of_our_package() -> None:
    text = load_patch()
    headers = [line for line in text.splitlines() if not line.startswith("+") or line.startswith("+++")]
    kinds = ("diff --git a/", "new file mode 100644", "--- /dev/null", f"+++ b/{PACKAGE}/", "@@ -0,0 +1")
    assert len(headers) == 5 * len(read_patch(text))
    for index, line in enumerate(headers):
        assert line.startswith(kinds[index % 5]), line
    assert all(name.startswith(f"{PACKAGE}/") and name.endswith(".py") for name in read_patch(text))


@pytest.mark.parametrize(
    ("before", "after"),
    [("--- /dev/null", "--- a/sana_wm_mps/fla.py"), ("@@ -0,0 +", "@@ -1,1 +"), ("new file mode", "deleted file mode")],
)
def test_a_patch_that_does_more_than_create_files_is_refused(before: str, after: str) -> None:
    with pytest.raises(HandoffError, match="not one that sana-wm wrote"):
        read_patch(load_patch().replace(before, after, 1))


def test_git_applies_it_and_takes_it_back(clone: Path, sana_wm: Run) -> None:
    before = tree(clone)
    code, out, _ = sana_wm("patches", "apply", "--checkout", clone)
    assert code == 0
    assert "NOT tested" in out
    assert git(clone, "rev-parse", "HEAD").strip() in out
    added = {name: content.decode() for name, content in tree(clone).items() if name not in before}
    assert added == read_patch(load_patch())
    assert {name: content for name, content in tree(clone).items() if name in before} == before

    assert sana_wm("patches", "apply", "--checkout", clone)[0] == 0
    assert {name: content.decode() for name, content in tree(clone).items() if name not in before} == added

    (clone / PACKAGE / "__pycache__").mkdir()
    (clone / PACKAGE / "__pycache__" / "guards.cpython-311.pyc").write_bytes(b"compiled")
    for _ in range(2):
        code, out, _ = sana_wm("patches", "apply", "--checkout", clone, "--revert")
        assert code == 0
        assert "not applied" in out
        assert tree(clone) == before
    assert not (clone / PACKAGE).exists()
    assert git(clone, "status", "--porcelain") == ""


def test_check_changes_nothing(clone: Path, sana_wm: Run) -> None:
    before = tree(clone)
    code, out, _ = sana_wm("patches", "apply", "--checkout", clone, "--check", "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["state"], report["changed"], report["tested_as"]) == ("absent", [], None)
    assert report["commit"] == git(clone, "rev-parse", "HEAD").strip()
    assert tree(clone) == before


def test_a_dirty_tree_keeps_its_changes(clone: Path, sana_wm: Run) -> None:
    changed = clone / "diffusion/refiner/diffusers_ltx2_refiner.py"
    changed.write_text("mine = True\n")
    (clone / "notes.txt").write_text("mine\n")
    before = tree(clone)
    code, out, _ = sana_wm("patches", "apply", "--checkout", clone)
    assert code == 0
    assert "diffusion/refiner/diffusers_ltx2_refiner.py" in out
    assert sana_wm("patches", "apply", "--checkout", clone, "--revert")[0] == 0
    assert tree(clone) == before


@pytest.mark.parametrize("arguments", [(), ("--revert",)])
@pytest.mark.parametrize(("name", "content"), [("guards.py", "mine = True\n"), ("mine.py", "mine = True\n")])
def test_files_that_somebody_changed_are_never_overwritten(
    clone: Path, sana_wm: Run, name: str, content: str, arguments: tuple[str, ...]
) -> None:
    assert sana_wm("patches", "apply", "--checkout", clone)[0] == 0
    (clone / PACKAGE / name).write_text(content)
    before = tree(clone)
    code, _, err = sana_wm("patches", "apply", "--checkout", clone, *arguments)
    assert code == 2
    assert ("is not as this release made it" if arguments else f"has another {PACKAGE}") in err
    assert (name if name == "guards.py" else "more files or fewer") in err
    assert tree(clone) == before
    assert sana_wm("patches", "apply", "--checkout", clone, "--check")[0] == 2


def test_the_wrong_repository_is_refused(clone: Path, tmp_path: Path, sana_wm: Run) -> None:
    other = tmp_path / "other"
    git(tmp_path, "init", "-q", str(other))
    for folder, said in (
        (other, "not a checkout of NVlabs/Sana"),
        (clone / "diffusion", "not the root of a git checkout"),
        (tmp_path, "not the root of a git checkout"),
        (tmp_path / "nowhere", "not a folder"),
    ):
        code, _, err = sana_wm("patches", "apply", "--checkout", folder)
        assert code == 2
        assert said in err
    assert list(other.iterdir()) == [other / ".git"]


def test_check_and_revert_do_not_go_together(clone: Path, sana_wm: Run) -> None:
    assert sana_wm("patches", "apply", "--checkout", clone, "--check", "--revert")[0] == 2
