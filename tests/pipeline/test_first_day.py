"""The commands of docs/first-day.md as they stand there, on tiny checkpoints: from a picture to a longer film."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.conftest import draw_picture

from sana_wm.runs.receipts import current_versions

TOP = Path(__file__).parents[2]
REPORT = TOP / "reports" / "first-day.json"
#: Videos of the released size would take the tiny networks hours.
SMALL = " --size 160x96"


def commands_of(page: Path) -> list[tuple[str, int]]:
    """Each line of its shell blocks, and the exit code that it ends with."""
    lines = "\n".join(re.findall(r"^```sh\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)).splitlines()
    found: list[tuple[str, int]] = []
    for line in lines:
        command, _, remark = line.partition("#")
        code = re.search(r"exit code (\d+)", remark)
        found.append((command.strip(), int(code[1]) if code else 0))
    return found


@pytest.fixture
def shell(tmp_path: Path, tiny_models: dict[str, dict[str, Any]]) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs a line in an empty folder of its own, where the weights were named once."""
    binaries, work = tmp_path / "bin", tmp_path / "work"
    for folder in (binaries, work):
        folder.mkdir()
    program = binaries / "sana-wm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sana_wm "$@"\n')
    program.chmod(0o755)
    for name in ("room", "hall"):
        draw_picture(tmp_path / "picture.png")
        with Image.open(tmp_path / "picture.png") as picture:
            picture.save(work / f"{name}.jpg")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SANA_WM_")} | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(line, shell=True, cwd=work, env=environment, capture_output=True, text=True, check=False)

    streaming = tmp_path / "streaming"
    assert run(f"sana-wm weights tiny --layout diffusers --variant streaming --out {streaming}").returncode == 0
    for variant, root in (("bidirectional", tiny_models["diffusers"]["root"]), ("streaming", streaming)):
        done = run(f"sana-wm weights use {root} --variant {variant}")
        assert done.returncode == 0, done.stderr
    return run


@pytest.mark.long
def test_a_first_day_by_commands_alone(
    shell: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    runs = tmp_path / "work" / "runs"
    rows: list[dict[str, Any]] = []
    for command, expected_code in commands_of(TOP / "docs" / "first-day.md"):
        line = command + SMALL if command.startswith("sana-wm run ") else command
        begun_s = time.monotonic()
        done = shell(line)
        rows.append({"command": line, "seconds": round(time.monotonic() - begun_s, 1), "exit_code": done.returncode})
        assert done.returncode == expected_code, f"{line}\n{done.stdout}\n{done.stderr}"
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
