"""Running single ops on the fake device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from mps_check.fake_device import fake_mps_device
from mps_check.recorder import Recorder
from mps_check.report import LintReport

Record = Callable[..., LintReport]


@pytest.fixture
def record() -> Iterator[Record]:
    """Record what a function does on the fake device, judged by a torch release."""

    def run(call: Callable[[], object], version: str | None = None) -> LintReport:
        recorder = Recorder(version)
        with recorder:
            call()
        return recorder.report("test")

    with fake_mps_device(), torch.no_grad():
        yield run
