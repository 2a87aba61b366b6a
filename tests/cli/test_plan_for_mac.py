"""`plan --for`: another Mac, asked about from anywhere, before anything is downloaded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.figures import format_range
from sana_wm.shipped import TEMPLATES

Plan = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """The command, from an empty home and folder."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SANA_")}
        environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
        command = [sys.executable, "-m", "sana_wm", "plan", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)

    return run


def test_without_a_manifest_every_mode_is_answered(plan: Plan) -> None:
    done = plan("--for", "M2 Pro 32 GB")
    assert done.returncode == 0, done.stderr
    assert "16 GPU cores assumed" in done.stdout
    assert "a guess, not measured on this chip" in done.stdout
    rows = [line for line in done.stdout.splitlines() if re.match(r"(draft|fast|standard|author|streaming)\S* ", line)]
    assert len(rows) == 18
    assert all("~" in row or "too much" in row for row in rows)  # no time that is not marked as a guess
    assert {re.split(r"  +", row.split(" s ", 1)[1].strip())[1] for row in rows} == {"off", "from disk"}
    assert max(map(len, done.stdout.splitlines()[:22])) <= 80


def test_json_says_the_same_as_the_table(plan: Plan) -> None:
    said = json.loads(plan("--for", "m1 16gb", "--json").stdout)
    text = plan("--for", "m1 16gb").stdout
    assert {one["mode"] for one in said["modes"]} >= {"draft", "fast", "standard", "author-defaults", "streaming draft"}
    for one in said["modes"]:
        refiner = "(on|from disk|in memory)" if one["refine"] else "off"
        begin = re.compile(rf"{one['mode']} +\d+ s +{one['num_frames']}  {refiner} ")
        [row] = [row for row in text.splitlines() if begin.match(row)]
        assert one["fits"] == (" yes " in row) == (" NO " not in row)
        assert one["is_measured"] is False
        if one["fits"]:
            assert row.endswith(f"  ~{format_range(*one['range_s'])}")
            assert any(phase["reads_from_disk"] for phase in one["phases"]) == ("from disk" in row)
    assert {one["fits"] for one in said["modes"]} == {True, False}


@pytest.mark.parametrize(("mac", "code", "word"), [("M3 Max 64 GB", 0, "~"), ("M2 8 GB", 5, "DOES NOT FIT")])
def test_a_manifest_is_planned_without_weights(plan: Plan, mac: str, code: int, word: str) -> None:
    template = TEMPLATES / "demo0_action_321f_4step.json"
    done = plan(template, "--for", mac)
    assert done.returncode == code, done.stderr
    assert word in done.stdout
    as_json = plan(template, "--for", mac, "--json")
    assert as_json.returncode == code
    assert json.loads(as_json.stdout)["fits"] is (code == 0)


def test_a_cap_that_is_too_low_is_never_said_to_fit(plan: Plan) -> None:
    template = TEMPLATES / "demo0_action_321f_4step.json"
    done = plan(template, "--for", "M3 Max 128 GB", "--cap-gib", "6", "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["fits"], said["range_s"]) == (5, False, None)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ((), "neither a manifest nor a Mac"),
        (("--for", "M2 Pro 64 GB"), "16 or 32 GB"),
        (("--for", "M5 Ultra 512 GB"), "no M5 Ultra"),
        (("--for", "M2 Pro 32 GB", "--cap-gib", "8"), "Name a manifest"),
    ],
)
def test_what_cannot_be_answered_says_what_can(plan: Plan, arguments: tuple[str, ...], answer: str) -> None:
    done = plan(*arguments)
    assert done.returncode == 2
    assert answer in done.stderr


@pytest.mark.parametrize(
    ("least_s", "most_s", "text"),
    [
        (0.2, 0.4, "1 s"),
        (6, 16, "6 to 16 s"),
        (50, 250, "1 to 4 min"),
        (2000, 7600, "0.6 to 2.1 h"),
        (3.6e4, 9e4, "10 to 25 h"),
    ],
)
def test_a_range_is_said_in_one_unit(least_s: float, most_s: float, text: str) -> None:
    assert format_range(least_s, most_s) == text
