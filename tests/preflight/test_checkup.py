"""The checkup on machines that are not here: facts in, findings out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sana_wm.planning.device import Device
from sana_wm.preflight.checkup import MEANINGFUL_VARIABLES, Facts, can_run, examine

GIB = 1024**3
GOOD_MAC = Facts(
    system="Darwin",
    system_version="15.5",
    architecture="arm64",
    chip="Apple M3 Max",
    memory_bytes=64 * GIB,
    python="3.12.4",
    torch="2.14.1",
    packages={"diffusers": "0.42.1", "transformers": "5.23.0"},
    torchvision=None,
    device=Device("mps", "Apple M3 Max", 48 * GIB, "2.14.1"),
    free_disk_bytes=200 * GIB,
    codecs=("libx264", "h264_videotoolbox"),
    weights=("/weights", ()),
    idle_sleep_min=1,
)


def test_a_good_mac_can_run_and_every_line_says_what_to_do() -> None:
    findings = examine(GOOD_MAC)
    assert can_run(findings)
    assert {finding.level for finding in findings} == {"ok"}
    assert all(finding.advice for finding in findings)


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"architecture": "x86_64"}, "problem", "under Rosetta"),
        ({"system_version": "13.6"}, "problem", "needs macOS 14"),
        ({"system_version": "14.7", "torch": "2.15.0"}, "problem", "torch 2.15 needs macOS 15"),
        ({"torch": "2.12.1"}, "problem", "no fused kernel for our head dims before 2.13"),
        ({"torch": "2.13.0", "chip": "Apple M2 Pro"}, "warning", "read past their operands"),
        ({"system_version": "26.2"}, "warning", "update macOS to 26.3"),
        ({"torch": None, "device": None}, "problem", "docs/install.md"),
        ({"packages": {"diffusers": None}}, "problem", "docs/install.md"),
        ({"memory_bytes": 8 * GIB}, "problem", "refiner.enabled to false"),
        ({"device": None}, "problem", "torch cannot be asked"),
        ({"device": Device("cpu", "arm64", 64 * GIB, "2.14.1")}, "warning", "days on a CPU"),
        ({"free_disk_bytes": GIB}, "problem", "free some space"),
        ({"codecs": None}, "problem", "imageio-ffmpeg"),
        ({"codecs": ("libx265",)}, "warning", "video.codec"),
        ({"weights": None}, "problem", "weights download"),
        ({"weights": ("/weights", ("dit is missing", "vae is missing"))}, "problem", "dit is missing (and 1 more)"),
        ({"idle_sleep_min": None}, "warning", "caffeinate"),
        ({"environment": {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}}, "warning", "taken out for runs"),
        ({"system": "Linux", "system_version": "6.1", "torchvision": "0.28"}, "warning", "pip uninstall torchvision"),
    ],
)
def test_what_is_wrong_is_found(changes: dict[str, Any], level: str, said: str) -> None:
    findings = examine(dataclasses.replace(GOOD_MAC, **changes))
    found = [finding for finding in findings if said in f"{finding.value} {finding.advice}"]
    assert [finding.level for finding in found] == [level]
    assert can_run(findings) == (level != "problem")


def test_a_combination_that_is_not_known_to_be_bad_is_said_to_be_that_and_no_more() -> None:
    (found,) = [finding for finding in examine(GOOD_MAC) if finding.what == "combination"]
    assert found.advice.startswith("not known to be bad")


def test_every_variable_is_explained() -> None:
    findings = examine(dataclasses.replace(GOOD_MAC, environment=dict.fromkeys(MEANINGFUL_VARIABLES, "1")))
    assert set(MEANINGFUL_VARIABLES) <= {finding.what for finding in findings}
