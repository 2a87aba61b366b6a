from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from sana_wm.errors import InterruptedRunError, MemoryNotReleasedError, StageFailedError
from sana_wm.runtime.device_faults import SIGN, FaultWatch
from sana_wm.runtime.events import EventWriter
from sana_wm.runtime.memory import TorchMemory, largest_tensors
from sana_wm.runtime.phases import PhaseLog
from sana_wm.runtime.stopping import StopFlag


@pytest.fixture
def phases(tmp_path: Path) -> PhaseLog:
    (tmp_path / "stage.log").write_bytes(b"of an earlier start: " + SIGN)
    return PhaseLog(TorchMemory("cpu"), EventWriter(tmp_path / "events.jsonl"), FaultWatch(tmp_path / "stage.log"))


def test_a_phase_whose_gpu_work_was_aborted_ends_the_stage_and_an_earlier_abort_does_not(
    phases: PhaseLog, tmp_path: Path
) -> None:
    with phases.phase("text_encoder"):
        pass
    with (tmp_path / "stage.log").open("ab") as log:
        log.write(SIGN[:10])
        log.flush()
        phases.faults.check()
        log.write(SIGN[10:])
    with pytest.raises(StageFailedError, match="aborted by the system") as caught, phases.phase("transformer"):
        pass
    assert caught.value.exit_code == 7
    assert [record.name for record in phases.records] == ["text_encoder"]


def test_a_phase_that_releases_its_network_is_recorded(phases: PhaseLog, tmp_path: Path) -> None:
    with phases.phase("text_encoder") as phase:
        phase.hold(nn.Linear(4, 4))
    assert [record.name for record in phases.records] == ["text_encoder"]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["phase_start", "phase_end"]


def test_a_network_that_something_still_holds_ends_the_run(phases: PhaseLog) -> None:
    kept: list[nn.Module] = []
    with (
        pytest.raises(MemoryNotReleasedError, match="Linear is still in memory; got list") as caught,
        phases.phase("transformer") as phase,
    ):
        kept.append(phase.hold(nn.Linear(4, 4)))
    assert caught.value.exit_code == 6


def test_a_cycle_is_no_holder(phases: PhaseLog) -> None:
    with phases.phase("transformer") as phase:
        network = phase.hold(nn.Linear(4, 4))
        network.register_buffer("self_reference", torch.zeros(1))
        network.__dict__["itself"] = network
        del network


def test_the_largest_tensors_are_named_with_their_holders() -> None:
    gc.collect()
    hoard = [torch.zeros(3, 1_000_000)]
    assert "(3, 1000000) torch.float32 12000000 bytes, held by list" in largest_tensors(torch.device("cpu"), count=2)
    del hoard


def test_a_stop_is_taken_where_the_stage_looks_for_it() -> None:
    stop = StopFlag()
    stop.check()
    stop.reason = "signal SIGTERM"
    with pytest.raises(InterruptedRunError, match="signal SIGTERM") as caught:
        stop.check()
    assert caught.value.exit_code == 130
