"""Only what this package made is taken for a run directory, and no link in one is followed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.durable import write_durably
from sana_wm.held import holding

SanaWM = Callable[..., tuple[int, str, str]]
SECRET = "a private key"

COMMANDS = [
    ("report",),
    ("resume",),
    ("resume", "--cap-gib", "9"),
    ("status",),
    ("verify",),
    ("verify", "--hash-weights"),
]
LINKS = ["report.part.html", "metrics.json", "video.mp4", "events/end.json", ".lock", "logs/stage1.log", "deep/er/link"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_link_is_refused_before_anything_is_read_or_written(
    finished_run: Path, tmp_path: Path, sana_wm: SanaWM, command: tuple[str, ...]
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    target = tmp_path / "secret"
    target.write_text(SECRET)
    name = LINKS[COMMANDS.index(command)]
    (run / name).unlink(missing_ok=True)
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).symlink_to(target)
    before = {path: path.lstat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}
    code, out, err = sana_wm(command[0], run, *command[1:])
    assert code == 4
    assert "is a link" in err
    assert SECRET not in out + err
    assert target.read_text() == SECRET
    assert {path: path.lstat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"} == before


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["plain", "forced"])
@pytest.mark.parametrize("content", ['{"name": "an app"}', "not even JSON"])
def test_a_foreign_folder_loses_nothing_and_force_is_never_advised(
    tmp_path: Path, write_manifest: Callable[..., Path], sana_wm: SanaWM, content: str, force: tuple[str, ...]
) -> None:
    manifest = write_manifest()
    folder = tmp_path / "run"
    names = ["manifest.json", "metrics.json", "video.part.mp4", "deep/er/notes.part.txt", "receipts/stage1.json"]
    for name in (*names, ".sana-wm-0123456789abcdef.part.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    before = sorted(folder.rglob("*"))
    code, _, err = sana_wm("run-pipeline", manifest, *force)
    assert code in (2, 4), err
    assert "is no run directory" in err
    assert "--force" not in err
    assert [path for path in sorted(folder.rglob("*")) if path.name != ".lock"] == before
    assert all(path.read_text() == content for path in before if path.is_file())


def test_no_command_takes_a_foreign_folder_for_a_run(tmp_path: Path, sana_wm: SanaWM) -> None:
    for name in ("manifest.json", "metrics.json"):
        (tmp_path / name).write_text('{"name": "an app"}')
    before = sorted(tmp_path.rglob("*"))
    for command in COMMANDS:
        code, _, err = sana_wm(command[0], tmp_path, *command[1:])
        assert (code, "is not a run directory" in err) == (4, True), err
        assert "resume" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_write_below_a_held_folder_does_not_follow_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "events").symlink_to(outside)
    with holding(folder), pytest.raises(Exception, match=r"link|directory"):
        write_durably(folder / "events" / "end.json", "{}")
    assert list(outside.iterdir()) == []
