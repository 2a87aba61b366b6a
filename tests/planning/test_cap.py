"""`memory.cap_gib: "auto"`: what it is on which device, and that a run keeps it as a number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sana_wm.errors import ManifestError
from sana_wm.manifest.loading import parse_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.planning.cap import automatic_cap_gib
from sana_wm.planning.device import Device, budget_bytes
from sana_wm.preflight.prospect import inspect
from sana_wm.sizes import GIB


@pytest.mark.parametrize(
    ("kind", "memory_gib", "cap_gib"),
    [("mps", 107.52, 96.0), ("mps", 48.009, 48.0), ("cuda", 79.6, 79.6), ("cpu", 16.0, 12.0), ("cpu", 256.0, 96.0)],
)
def test_it_is_96_or_what_the_device_can_give(kind: str, memory_gib: float, cap_gib: float) -> None:
    device = Device(kind, "one", int(memory_gib * GIB) + 1, "2.13.0")  # pyright: ignore[reportArgumentType]
    assert automatic_cap_gib(device) == pytest.approx(cap_gib)


def test_on_a_mac_engines_plan_as_they_did_under_96() -> None:
    """Less than a hundredth of a GiB apart: the same cuts, the same bits."""
    device = Device("mps", "M3 Max", 48 * GIB, "2.14.1")
    assert automatic_cap_gib(device) == 48.0
    assert budget_bytes("mps", device.memory_bytes, 48 * GIB) == budget_bytes("mps", device.memory_bytes, 96 * GIB)


def test_a_run_keeps_the_number(write_manifest: Callable[..., Path]) -> None:
    run, resolved, plan = inspect(write_manifest(), {}).require()
    share = psutil.virtual_memory().total * 0.75
    assert resolved.memory.cap_gib == pytest.approx(min(96.0, share / GIB), abs=0.01)
    assert plan.cap_bytes == resolved.memory.cap_bytes
    written = json.loads(resolved.model_dump_json())
    assert parse_manifest(written, RunManifest) == resolved
    written["memory"]["cap_gib"] = "auto"
    with pytest.raises(ManifestError, match=r"memory\.cap_gib"):
        parse_manifest(written, RunManifest)
    assert not run.path.exists()


def test_a_number_means_what_it_did(write_manifest: Callable[..., Path]) -> None:
    assert inspect(write_manifest(memory__cap_gib=96.0), {}).require()[1].memory.cap_gib == 96.0
