"""Phases of a stage: each loads one network, works, and must leave nothing behind."""

from __future__ import annotations

import contextlib
import gc
import time
import weakref
from collections.abc import Generator
from typing import TypeVar

import torch
from torch import nn

from sana_wm.errors import MemoryNotReleasedError
from sana_wm.handoff.events import PhaseEnd, PhaseStart, now_s
from sana_wm.handoff.receipts import WORKSPACE_BYTES, PhaseRecord
from sana_wm.runtime.device import device_memory, empty_cache, reset_peak, synchronize
from sana_wm.runtime.device_faults import FaultWatch
from sana_wm.runtime.events import EventWriter

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

    def __init__(self, device: torch.device, events: EventWriter, faults: FaultWatch) -> None:
        self.device = device
        self.events = events
        self.faults = faults
        self.records: list[PhaseRecord] = []
        self.running = "start"

    @contextlib.contextmanager
    def phase(self, name: str) -> Generator[Phase]:
        """Run a phase; at its end networks and device memory must be released.

        Raises:
            MemoryNotReleasedError: A network that the phase held, or device memory, is still alive.
            StageFailedError: The system aborted some of its work.
        """
        phase = Phase()
        reset_peak(self.device)
        start = time.perf_counter()
        self.running = name
        self.events.emit(PhaseStart(time_s=now_s(), phase=name))
        yield phase
        synchronize(self.device)
        self.faults.check()
        peak_bytes = device_memory(self.device).peak_bytes
        after_bytes = self._release()
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
                got=_holders(networks[0]),
                expected="no reference to it",
                next_step="This is a bug in sana-wm: please report it with the stage's log.",
            )
        if after_bytes and (after_bytes > WORKSPACE_BYTES or has_tensors(self.device)):
            raise MemoryNotReleasedError(
                f"phase {name} left device memory allocated",
                got=f"{after_bytes} bytes: {largest_tensors(self.device)}",
                expected="0 bytes",
                next_step="This is a bug in sana-wm: please report it with the stage's log.",
            )

    def _release(self) -> int | None:
        gc.collect()
        synchronize(self.device)
        empty_cache(self.device)
        return device_memory(self.device).current_bytes


def has_tensors(device: torch.device) -> bool:
    """Whether any tensor that Python knows lives on the device."""
    return any(isinstance(item, torch.Tensor) and item.device.type == device.type for item in gc.get_objects())


def largest_tensors(device: torch.device, count: int = 5) -> str:
    """The largest live tensors on a device, in words: shape, dtype, bytes, who holds them."""
    alive = [item for item in gc.get_objects() if isinstance(item, torch.Tensor) and item.device.type == device.type]
    alive.sort(key=lambda tensor: tensor.untyped_storage().nbytes(), reverse=True)
    return "; ".join(
        f"{tuple(tensor.shape)} {tensor.dtype} {tensor.untyped_storage().nbytes()} bytes, held by "
        f"{_holders(tensor, besides=alive)}"
        for tensor in alive[:count]
    )


def _holders(item: object, besides: object = None) -> str:
    """The types of what refers to an object, leaving out our own list and the frames and generators that look."""
    holders = [holder for holder in gc.get_referrers(item) if holder is not besides]
    kinds = {type(holder).__name__ for holder in holders} - {"frame", "generator"}
    return ", ".join(sorted(kinds)) or "nobody that Python knows"
