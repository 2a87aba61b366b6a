"""`queue`, as its users meet it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SanaWM = Callable[..., tuple[int, str, str]]


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_a_folder")
def test_a_night_of_one_finished_and_one_failing_run(
    sana_wm: SanaWM, finished_run: Path, tmp_path: Path, picture: Path, tiny: Any, tiny_models: dict[str, Any]
) -> None:
    done = json.loads((finished_run.parent / "manifest.json").read_text()) | {"output_dir": "runs/done"}
    shutil.copytree(finished_run, tmp_path / "runs" / "done")
    fails = tiny(picture, tiny_models["diffusers"]) | {"output_dir": "runs/fails"}
    fails["input"]["image"] = "gone.png"
    for name, data in {"done": done, "fails": fails}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    code, out, err = sana_wm("queue", "add", "done.json", "fails.json")
    assert (code, out) == (2, "")
    assert "fails.json: input.image" in err
    code, out, err = sana_wm("queue", "add", "done.json", "fails.json", "--anyway")
    assert code == 0
    assert f"job 2 (tiny) is added: {tmp_path}/runs/fails" in out
    assert "added all the same: input.image" in err
    code, out, _ = sana_wm("queue", "list")
    assert "2 to come" in out
    assert "nobody works it: sana-wm queue run" in out

    code, out, err = sana_wm("queue", "run", "--until", "0:00")
    assert code == 7
    assert "1 done, 1 parked" in out
    assert "sana-wm queue retry 2" in err

    code, out, _ = sana_wm("queue", "list", "--json")
    told = json.loads(out)
    assert told["queue"] == str(tmp_path / "runs" / "queue")
    assert (told["runner"], told["remaining_s"]) == (None, 0.0)
    failed, finished = told["jobs"]
    assert (failed["number"], failed["state"], failed["failures"], failed["position"]) == (2, "failed", 2, None)
    assert failed["reason"].startswith("exit code 2: the manifest cannot be run: 1 problem")
    assert (finished["number"], finished["state"]) == (1, "done")

    shutil.copy(picture, tmp_path / "gone.png")
    assert sana_wm("queue", "retry", 2)[1] == "job 2 (tiny) waits for its turn\n"
    assert sana_wm("queue", "cancel", 2, 1)[1].count("is out of the queue; what it made stays in") == 2
    assert sana_wm("queue", "list")[1].startswith("no jobs in")
    assert (tmp_path / "runs" / "done" / "video.mp4").exists()


@pytest.mark.usefixtures("in_a_folder")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["list"], 0, ""),
        (["run"], 0, ""),
        (["run", "--until", "seven"], 2, "'seven' is no time of day; expected HH:MM"),
        (["pause"], 2, "nobody works the queue"),
        (["cancel", "3"], 2, "has no job 3; expected one that was added"),
        (["retry", "3"], 2, "has no job 3"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_queue_that_is_not_there_yet(sana_wm: SanaWM, arguments: list[str], code: int, said: str) -> None:
    found, _, err = sana_wm("queue", *arguments)
    assert found == code
    assert said in err


@pytest.mark.usefixtures("in_a_folder")
def test_variations_for_the_night_are_jobs_that_know_what_they_are_made_from(
    sana_wm: SanaWM, finished_run: Path, tmp_path: Path
) -> None:
    parent = tmp_path / "runs" / "first"
    shutil.copytree(finished_run, parent)
    code, out, err = sana_wm("vary", parent, "--seed", 1, 2, "--queue")
    assert (code, out.count("is added")) == (0, 2), err
    for number, seed in ((1, 1), (2, 2)):
        manifest = json.loads((tmp_path / "runs" / "queue" / f"000{number}" / "manifest.json").read_text())
        assert manifest["stage1"]["seed"] == seed
        assert manifest["made_from"]["run"] == str(parent)
        assert not Path(manifest["output_dir"]).exists()
    code, _, err = sana_wm("vary", parent, "--seed", 3, "--queue", "--dry-run")
    assert (code, "--dry-run and --queue do not go together" in err) == (2, True)
    assert sorted(path.suffix for path in parent.parent.glob("first-*")) == [".json", ".json"]
