"""`runs list`: every run in its line, whatever is wrong with it; nothing is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sana_wm.catalogue.folder import read_catalogue
from sana_wm.catalogue.lineage import as_tree, children_of
from sana_wm.runs.inventory import disk_bytes, freed_bytes, list_files
from sana_wm.runs.run_directory import RunDirectory

SanaWM = Callable[..., tuple[int, str, str]]
CopyRun = Callable[..., Path]
OWNER = """
import sys
from pathlib import Path
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.lock import owning
with owning(RunDirectory(Path(sys.argv[1]))):
    print("owned", flush=True)
    sys.stdin.read()
"""


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def listed(sana_wm: SanaWM, folder: Path) -> dict[str, dict[str, Any]]:
    code, out, err = sana_wm("runs", "list", folder, "--json")
    assert code == 0, err
    return {os.path.relpath(run["path"], folder): run for run in json.loads(out)["runs"]}


def test_every_state_has_its_line_and_nothing_is_changed(
    runs: Path, copy_run: CopyRun, edit_run_manifest: Callable[..., None], sana_wm: SanaWM
) -> None:
    copy_run("finished")
    (copy_run("refining") / "receipts" / "refiner.json").unlink()
    (copy_run("torn") / "video.mp4").write_bytes(b"half")
    (copy_run("lost") / "contact_sheet.png").unlink()
    flip(copy_run("forged") / "receipts" / "stage1.json")
    flip(copy_run("flipped") / "manifest.json")
    edit_run_manifest(copy_run("newer"), stage1__unheard_of=1)
    (copy_run("linked") / "metrics.json").unlink()
    (runs / "linked" / "metrics.json").symlink_to(runs / "finished" / "metrics.json")
    os.mkfifo(copy_run("piped") / "events" / "pipe")
    copy_run("demo/run")
    (runs / "notes").mkdir()
    (runs / "notes" / "manifest.json").write_text("{}")
    (runs / "latest").symlink_to(runs / "finished")
    in_use = copy_run("in-use")
    (in_use / "events" / "end.json").unlink()
    command = [sys.executable, "-c", OWNER, str(in_use)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "owned\n"
        before = {path: path.lstat().st_mtime_ns for path in runs.rglob("*")}
        found = listed(sana_wm, runs)
        assert {path: path.lstat().st_mtime_ns for path in runs.rglob("*")} == before
        owner.communicate("")
    states = {name: run["state"] for name, run in found.items()}
    assert states == {
        "demo/run": "finished",
        "finished": "finished",
        "flipped": "damaged",
        "forged": "damaged",
        "in-use": "running",
        "linked": "damaged",
        "lost": "damaged",
        "newer": "unreadable",
        "piped": "finished",
        "refining": "unfinished",
        "torn": "damaged",
    }
    assert found["refining"]["stage"] == "refiner"
    assert found["lost"]["detail"] == "contact_sheet.png is missing"
    assert "video.mp4 has 4 bytes of" in found["torn"]["detail"]
    assert found["flipped"]["size_bytes"] > 0
    assert found["finished"]["thumbnail"] == str(runs / "finished" / "contact_sheet.png")
    assert found["lost"]["thumbnail"] == str(runs / "lost" / "previews" / "0008.png")
    assert found["finished"]["seconds"] == pytest.approx(56 / 16)  # the sink frame is dropped
    code, out, err = sana_wm("runs", "list", runs)
    assert code == 0, err
    assert "unfinished: refiner is next" in out
    assert "2 other folders are no runs" in out
    assert "skipped: latest (a link)" in sana_wm("runs", "list", runs, "--skipped")[1]
    assert "skipped: notes (no run of ours)" in sana_wm("runs", "list", runs, "--skipped")[1]


def test_a_folder_without_runs_is_said_and_one_that_is_not_there_is_an_error(runs: Path, sana_wm: SanaWM) -> None:
    assert sana_wm("runs", "list", runs)[:2] == (0, f"no run in {runs}\n")
    code, _, err = sana_wm("runs", "list", runs / "nowhere")
    assert code == 4
    assert "cannot be looked into" in err


def test_content_with_several_names_counts_once(runs: Path, copy_run: CopyRun, sana_wm: SanaWM) -> None:
    first, second = copy_run("first"), copy_run("second")
    shared = second / "latents" / "stage1.safetensors"
    shared.unlink()
    shared.hardlink_to(first / "latents" / "stage1.safetensors")
    size_bytes = shared.stat().st_size
    files = [list_files(RunDirectory(run)) for run in (first, second)]
    both = disk_bytes((*files[0], *files[1]))
    assert both == disk_bytes(files[0]) + disk_bytes(files[1]) - size_bytes
    assert freed_bytes(files[1]) == disk_bytes(files[1]) - size_bytes
    assert freed_bytes((*files[0], *files[1])) == both
    found = listed(sana_wm, runs)
    assert found["second"]["shared_bytes"] == size_bytes
    assert json.loads(sana_wm("runs", "list", runs, "--json")[1])["size_bytes"] == both


def test_the_tree_knows_a_parent_by_its_manifest_wherever_it_lies(
    runs: Path, copy_run: CopyRun, sana_wm: SanaWM
) -> None:
    root = copy_run("root")
    vary = copy_run("b-vary", root)
    copy_run("branch", vary)
    copy_run("z-vary", root)
    root.rename(runs / "moved")
    copy_run("root")  # another run where the parent lay
    entries = read_catalogue(runs).entries
    limbs = [f"{limb.lead}{limb.entry.path.name}" for limb in as_tree(entries)]
    assert limbs == ["moved", "├─ b-vary", "│  └─ branch", "└─ z-vary", "root"]
    moved = next(entry for entry in entries if entry.path.name == "moved")
    assert [child.path.name for child in children_of(moved, entries)] == ["b-vary", "z-vary"]
    out = sana_wm("runs", "list", runs, "--tree")[1]
    assert out.index("moved ") < out.index("├─ b-vary") < out.index("│  └─ branch") < out.index("└─ z-vary")
    assert "made from root by vary; changed: stage1.seed" in out


def test_runs_that_say_they_were_made_from_each_other_are_all_listed(
    runs: Path, copy_run: CopyRun, edit_run_manifest: Callable[..., None], sana_wm: SanaWM
) -> None:
    lineage = {"verb": "vary", "manifest_sha256": "0" * 64, "frame": None, "changed": []}
    for name, other in (("a", "b"), ("b", "a"), ("self", "self")):
        edit_run_manifest(copy_run(name), made_from=lineage | {"run": str(runs / other)})
    assert sorted(limb.entry.path.name for limb in as_tree(read_catalogue(runs).entries)) == ["a", "b", "self"]
    assert sana_wm("runs", "list", runs, "--tree")[0] == 0


def test_names_and_prompts_steer_no_terminal(copy_run: CopyRun, sana_wm: SanaWM, runs: Path) -> None:
    copy_run("run", name="\x1b[2Jgone\u202e")
    out = sana_wm("runs", "list", runs)[1]
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "gone" in out
