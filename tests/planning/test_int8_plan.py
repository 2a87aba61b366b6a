"""What 8 bits save at the released sizes: the table of docs/int8.md is the plan's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.errors import MemoryCapError
from sana_wm.names import WEIGHT_BITS, WeightBits
from sana_wm.planning.device import Device
from sana_wm.planning.forecast import RunForecaster
from sana_wm.sizes import GIB

PAGE = Path(__file__).parents[2] / "docs" / "int8.md"
CAPS_GIB = (16, 24, 32, 48, 96)
Run = Callable[..., RunForecaster]


def cells(run: RunForecaster) -> list[str]:
    """Text encoder and transformer of the refiner: how they are held, their peak, what is read from disk."""
    said: list[str] = []
    for phase in ("text_encoder", "transformer"):
        try:
            planned = run.planner("refiner", phase)(run.budget_bytes)
        except MemoryCapError:
            said.append("does not fit")
            continue
        how = "in memory" if planned.plan["mode"] == "resident" else "from disk"
        kept = planned.plan.get("resident_blocks")
        stays = f", {kept} of 48 blocks stay" if kept and how == "from disk" else ""
        said.append(f"{how}{stays}: {run.used_bytes(planned) / GIB:.1f} GiB, {planned.read_bytes / 1e9:.0f} GB read")
    return said


def asked(full_size_run: Run, cap_gib: float, weights: WeightBits) -> RunForecaster:
    mac = Device("mps", "a Mac", int(0.75 * cap_gib / 0.75 * GIB), "2.13.0")
    run = full_size_run(mac, 321, cap_gib)
    model = run.manifest.model.model_copy(update={"weights": weights})
    manifest = run.manifest.model_copy(update={"model": model})
    return RunForecaster(manifest, run.layout, run.device)


@pytest.mark.parametrize("cap_gib", CAPS_GIB)
@pytest.mark.parametrize("weights", WEIGHT_BITS)
def test_the_page_says_what_the_plan_says(full_size_run: Run, cap_gib: int, weights: WeightBits) -> None:
    row = " | ".join([f"| {cap_gib} GiB", f"`{weights}`", *cells(asked(full_size_run, cap_gib, weights))]) + " |"
    assert row in PAGE.read_text(encoding="utf-8").splitlines()


def test_8_bits_halve_what_is_held_and_what_is_read(full_size_run: Run) -> None:
    for phase, held, read in (("text_encoder", 0.6, 0.6), ("transformer", 0.7, 0.55)):
        stored, packed = (
            asked(full_size_run, 96, weights).planner("refiner", phase)(90 * GIB) for weights in WEIGHT_BITS
        )
        assert packed.device_bytes < held * stored.device_bytes
        assert packed.read_bytes < read * stored.read_bytes
        assert packed.tflop == pytest.approx(stored.tflop, rel=0.05)
