"""The commands of docs/first-day.md as they stand there, on tiny checkpoints: from a picture to a longer film."""

from __future__ import annotations

import json
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.pages.commands import TOP, commands_of, draw_photograph
from tests.pages.conftest import Shell

from sana_wm.runs.receipts import current_versions

REPORT = TOP / "reports" / "first-day.json"
#: Videos of the released size would take the tiny networks hours.
SMALL = " --size 160x96"


@pytest.mark.long
def test_a_first_day_by_commands_alone(shell: Shell, work: Path) -> None:
    for name in ("room", "hall"):
        draw_photograph(work / f"{name}.jpg")
    runs = work / "runs"
    rows: list[dict[str, Any]] = []
    for command in commands_of(TOP / "docs" / "first-day.md"):
        line = command.text + SMALL if command.words[:2] == ["sana-wm", "run"] else command.text
        begun_s = time.monotonic()
        done = shell(line)
        rows.append({"command": line, "seconds": round(time.monotonic() - begun_s, 1), "exit_code": done.returncode})
        assert done.returncode == command.exit_code, f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr

    listed = json.loads(shell("sana-wm runs list --json").stdout)["runs"]
    state = {Path(one["path"]).name: one["state"] for one in listed}
    assert state == dict.fromkeys(
        ("room_draft", "room_draft-3", "room_draft-4", "room_draft-5", "room_draft-6", "room_draft-7", "hall_draft"),
        "finished",
    )
    made_from = {
        path.parent.name: (made["verb"], Path(made["run"]).name, made["frame"])
        for path in sorted(runs.glob("*/manifest.json"))
        if (made := json.loads(path.read_text()).get("made_from")) is not None
    }
    assert made_from == {
        "room_draft-3": ("vary", "room_draft", None),
        "room_draft-4": ("vary", "room_draft", None),
        "room_draft-5": ("promote", "room_draft-3", None),
        "room_draft-6": ("branch", "room_draft-5", 40),
        "room_draft-7": ("extend", "room_draft-6", 48),
    }
    for name in state:  # room_draft-2, whose parts some of them share, is gone
        done = shell(f"sana-wm verify runs/{name}")
        assert done.returncode == 0, done.stdout
    assert not (runs / "room_draft-2").exists()
    write_report(rows)


def write_report(rows: list[dict[str, Any]]) -> None:
    report = {
        "what": "docs/first-day.md by commands alone: tiny random checkpoints, 96x160, CPU",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "pytest -m long tests/pipeline/test_first_day.py",
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), **current_versions()},
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "commands": rows,
    }
    REPORT.write_text(json.dumps(report, indent=1) + "\n")
