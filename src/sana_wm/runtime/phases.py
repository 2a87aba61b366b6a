"""Phases of a stage: each loads one network, works, and must leave nothing behind."""

from __future__ import annotations

import contextlib
import gc
import time
import weakref
from collections.abc import Generator
from typing import TypeVar

from torch import nn

from sana_wm.errors import MemoryNotReleasedError
from sana_wm.runs.events import PhaseEnd, PhaseStart, now_s
from sana_wm.runs.receipts import WORKSPACE_BYTES, PhaseRecord
from sana_wm.runtime.device_faults import FaultWatch
from sana_wm.runtime.events import EventWriter
from sana_wm.runtime.memory import EngineMemory, holders_of

Network = TypeVar("Network", bound=nn.Module)


class Phase:
    """One phase while it runs."""

    def __init__(self) -> None:
        self._networks: list[weakref.ref[nn.Module]] = []

    def hold(self, network: Network) -> Network:
        """Note a network that this phase loaded: it must be gone when the phase ends."""
        self._networks.append(weakref.ref(network))
        return network

    def held_networks(self) -> list[nn.Module]:
        """The networks of this phase that are still alive."""
        return [network for reference in self._networks if (network := reference()) is not None]


class PhaseLog:
    """Runs phases one after another and records what each took and left."""

    def __init__(self, memory: EngineMemory, events: EventWriter, faults: FaultWatch) -> None:
        self.memory = memory
        self.events = events
        self.faults = faults
        self.records: list[PhaseRecord] = []
        self.running = "start"

    @contextlib.contextmanager
    def phase(self, name: str, memory: EngineMemory | None = None) -> Generator[Phase]:
        """Run a phase; at its end networks and device memory must be released.

        Args:
            name: Of the phase.
            memory: Of the engine that computes it, where that is not the stage's own.

        Raises:
            MemoryNotReleasedError: A network that the phase held, or device memory, is still alive.
            StageFailedError: The system aborted some of its work.
        """
        phase = Phase()
        memory = memory or self.memory
        memory.reset_peak()
        start = time.perf_counter()
        self.running = name
        self.events.emit(PhaseStart(time_s=now_s(), phase=name))
        yield phase
        memory.synchronize()
        self.faults.check()
        peak_bytes = memory.read().peak_bytes
        after_bytes = _release(memory)
        record = PhaseRecord(
            name=name,
            seconds=round(time.perf_counter() - start, 3),
            peak_device_bytes=peak_bytes,
            after_release_bytes=after_bytes,
        )
        self.records.append(record)
        self.events.emit(PhaseEnd(time_s=now_s(), **record.model_dump()))
        if networks := phase.held_networks():
            raise MemoryNotReleasedError(
                f"phase {name} ended and {type(networks[0]).__name__} is still in memory",
                got=holders_of(networks[0]),
                expected="no reference to it",
                next_step="This is a bug in sana-wm: please report it with the stage's log.",
            )
        if after_bytes and (after_bytes > WORKSPACE_BYTES or memory.describe_live() is not None):
            raise MemoryNotReleasedError(
                f"phase {name} left device memory allocated",
                got=f"{after_bytes} bytes: {memory.describe_live()}",
                expected="0 bytes",
                next_step="This is a bug in sana-wm: please report it with the stage's log.",
            )


def _release(memory: EngineMemory) -> int | None:
    gc.collect()
    memory.synchronize()
    memory.empty_cache()
    return memory.read().current_bytes
