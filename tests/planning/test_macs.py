"""The table of Macs: what a user may call one, and what a plan makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from sana_wm.drafting.modes import MODES, Mode, plan_modes
from sana_wm.errors import UsageError
from sana_wm.planning.forecast import RunForecaster
from sana_wm.planning.mac_plan import MacPlan, plan_on_macs
from sana_wm.planning.macs import find_mac, mac_table, shipped_macs
from sana_wm.planning.plan import dtype_of, plan_by
from sana_wm.planning.times import Rates, Times
from sana_wm.sizes import GIB

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def planned() -> Mapping[Mode, list[MacPlan]]:
    return plan_modes(shipped_macs())


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("M2 Pro 32 GB", "Apple M2 Pro, 16 GPU cores, 32 GB"),
        ("m4max 64gb", "Apple M4 Max, 40 GPU cores, 64 GB"),
        ("M3 Max 40-core 64 GB", "Apple M3 Max, 40 GPU cores, 64 GB"),
        ("64 GB, M3 Max, 40 cores GPU", "Apple M3 Max, 40 GPU cores, 64 GB"),
        ("MacBook Pro M2 Pro 10-core CPU 19-core GPU 16GB", "Apple M2 Pro, 19 GPU cores, 16 GB"),
        ("Apple M1 8 GB", "Apple M1, 7 GPU cores, 8 GB"),
        ("mac studio m3 ultra 512gb", "Apple M3 Ultra, 80 GPU cores, 512 GB"),
    ],
)
def test_a_mac_is_found_by_what_people_call_it(said: str, name: str) -> None:
    assert find_mac(said).name == name


def test_of_two_gpus_the_smaller_is_taken_and_said() -> None:
    assert "16 GPU cores assumed" in find_mac("M2 Pro 32 GB").assumed
    assert "19-core" in find_mac("M2 Pro 32 GB").assumed
    # Said, or the only one sold with that memory: nothing is assumed.
    assert not find_mac("M2 Pro 19-core 32 GB").assumed
    assert not find_mac("M4 Max 64 GB").assumed


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("M2 Pro 64 GB", "M2 Pro was sold with 16 or 32 GB"),
        ("M2 Pro", "M2 Pro was sold with 16 or 32 GB"),
        ("M3 Max 30-core 64 GB", "30 GPU cores with 36 or 96 GB; 40 GPU cores with 48, 64 or 128 GB"),
        ("M5 Ultra 256 GB", "the table has no M5 Ultra: Apple had published nothing"),
        ("M5 Ultra 256 GB", "Did you mean M3 Ultra?"),
        ("M7 16 GB", "the table has no M7; expected M1, M1 Pro"),
        ("a big one", "--for names no chip"),
        ("M2 Pro 32 GB overclocked", "got 'overclocked'"),
        ("", "--for names no chip"),
    ],
)
def test_what_the_table_has_not_is_refused_with_what_it_has(said: str, answer: str) -> None:
    with pytest.raises(UsageError) as refused:
        find_mac(said)
    assert answer in str(refused.value)


def test_the_table_is_whole() -> None:
    table = mac_table()
    generations = {gpu.generation for gpu in table.gpus}
    assert generations == set(table.matrix_tflops_per_core) == {"M1", "M2", "M3", "M4", "M5"}
    assert len({(gpu.chip, gpu.gpu_cores) for gpu in table.gpus}) == len(table.gpus)
    figures = set(type(table).model_fields) - {"sources", "left_out", "gpus"}
    figures |= {"gpu_cores", "memory_gb", "bandwidth_gb_s"}
    # No figure without a source.
    assert {name for names in table.sources for name in names.split(", ")} == figures
    installed = re.search(r'"torch>=([\d.]+)[^"]*sys_platform == \'darwin\'', (ROOT / "pyproject.toml").read_text())
    assert installed is not None
    assert table.torch_version == installed[1]


def test_every_entry_of_the_table_can_be_said() -> None:
    for mac in shipped_macs():
        found = find_mac(f"{mac.gpu.chip} {mac.gpu.gpu_cores}-core {mac.memory_gb} GB")
        assert (found.name, found.assumed) == (mac.name, "")


def test_what_fits_stays_under_the_cap_and_what_does_not_has_no_time(
    planned: Mapping[Mode, list[MacPlan]],
) -> None:
    verdicts = set[bool]()
    for plans in planned.values():
        for plan in plans:
            verdicts.add(plan.fits)
            if not plan.fits:
                assert plan.range_s is None
                continue
            assert plan.range_s is not None
            assert 0 < plan.range_s[0] < plan.range_s[1]
            assert plan.slow.peak_bytes <= min(plan.slow.cap_bytes, plan.mac.device.memory_bytes)
            assert not plan.slow.is_measured
    assert verdicts == {True, False}


def test_more_memory_never_fits_less_and_more_cores_never_take_longer(
    planned: Mapping[Mode, list[MacPlan]],
) -> None:
    for plans in planned.values():
        for less, more in pairwise(plans):
            if less.mac.gpu == more.mac.gpu:
                assert less.fits <= more.fits
        by_mac = {(plan.mac.gpu.chip, plan.mac.memory_gb, plan.mac.gpu.gpu_cores): plan for plan in plans}
        for (chip, memory_gb, gpu_cores), plan in by_mac.items():
            for (other_chip, other_gb, other_cores), other in by_mac.items():
                if (chip, memory_gb) == (other_chip, other_gb) and gpu_cores < other_cores and plan.range_s:
                    assert other.range_s is not None
                    assert other.range_s <= plan.range_s


def test_a_table_of_many_macs_says_what_a_plan_of_one_says(planned: Mapping[Mode, list[MacPlan]]) -> None:
    """Headers are read once for all of them: a Mac must not get another one's plan."""
    wanted = (
        "Apple M1, 8 GPU cores, 16 GB",
        "Apple M4 Pro, 20 GPU cores, 24 GB",
        "Apple M3 Ultra, 80 GPU cores, 512 GB",
    )
    for mode in MODES[::3]:
        for plan in planned[mode]:
            if plan.mac.name in wanted:
                [alone] = plan_on_macs(mode.manifest(), [plan.mac])
                assert alone.as_json() == plan.as_json()


def test_the_same_run_planned_as_this_machine_is_the_same(
    full_size_run: Callable[..., RunForecaster],
) -> None:
    """What a Mac of the table is told is what it would say itself, but for the rates of its guesses."""
    mac = find_mac("M2 Pro 32 GB")
    manifest = MODES[1].manifest()
    [plan] = plan_on_macs(manifest, [mac])
    forecaster = full_size_run(mac.device, manifest.video.num_frames, 96)
    forecaster = RunForecaster(manifest, forecaster.layout, mac.device, tuple({p.stage for p in plan.slow.phases}))
    times = Times((), None, mac.device, dtype_of(forecaster), Rates(tflops=1.0))
    own = plan_by(forecaster, forecaster.planners(), times)
    assert {(p.stage, p.phase): (p.mode, p.used_bytes) for p in own.phases} == {
        (p.stage, p.phase): (p.mode, p.used_bytes) for p in plan.slow.phases
    }
    assert own.budget_bytes == plan.slow.budget_bytes


def test_the_public_port_s_own_time_lies_in_its_mac_s_range() -> None:
    """2 h 44 min for Stage 1, the one measurement there is: 60 steps at 321 frames on an M3 Max of 40 cores."""
    [mode] = [mode for mode in MODES if (mode.name, mode.refine, mode.num_frames) == ("author-defaults", True, 321)]
    [plan] = plan_on_macs(mode.manifest(), [find_mac("M3 Max 40-core 64 GB")])
    phases = zip(plan.fast.phases, plan.slow.phases, strict=True)
    [(fast, slow)] = [pair for pair in phases if (pair[0].stage, pair[0].phase) == ("stage1", "transformer")]
    assert (fast.seconds or 0) < 2 * 3600 + 44 * 60 < (slow.seconds or 0)


def test_weights_that_do_not_fit_are_read_from_disk_and_that_takes_time() -> None:
    manifest = MODES[-1].manifest()
    small, large = plan_on_macs(manifest, [find_mac("M4 Pro 24 GB"), find_mac("M4 Pro 64 GB")])
    assert ("refiner", "transformer") in small.streamed
    assert large.streamed == ()
    assert small.slow.seconds >= large.slow.seconds
    assert small.slow.peak_bytes < 16 * GIB < large.slow.peak_bytes


def test_only_the_refiner_is_ever_read_from_disk(planned: Mapping[Mode, list[MacPlan]]) -> None:
    """The table of modes says of the refiner alone where its weights are."""
    streamed = {(mode.refine, stage) for mode, plans in planned.items() for plan in plans for stage, _ in plan.streamed}
    assert streamed == {(True, "refiner")}


def test_a_manifest_for_another_kind_of_device_is_refused() -> None:
    manifest = MODES[0].manifest().model_copy(update={"device": "cpu"})
    with pytest.raises(UsageError, match="a Mac's GPU"):
        plan_on_macs(manifest, [find_mac("M2 Pro 32 GB")])
