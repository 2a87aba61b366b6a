"""Weights that are read when their block comes up: one block on the device, the next two on their way.

Every streamed block's parameters are views of one slot on the device. Reader threads fill two host buffers, reused in
turn, with the blocks that come next, straight from the file: there is no second copy of it.

accelerate's `cpu_offload` and `disk_offload` are not used. Their hooks sit on every leaf module and move its weights
when its forward is called, in the calling thread: reading, copying and computing take turns. `reports/bench/refiner.md`
says what that would cost. `disk_offload` also wants the checkpoint written once more, one file a tensor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sana_wm.models.refiner.stored_weights import StoredTensor, TensorReader, bytes_of, held_dtype, verify_shape
from sana_wm.planning.refiner import HOST_BUFFERS

# From the page cache eight read 35.6 GB/s, more than any disk gives; four read 19.5 (reports/bench/refiner.md).
READER_THREADS = 8
# Large enough for a disk's full speed, small enough that the readers share one block; those rates are for 16 MiB.
PIECE_BYTES = 16 * 2**20
# Host buffers start each tensor on a cache line, whatever its dtype.
ALIGNMENT_BYTES = 64


class BlockStream:
    """Makes a network's blocks usable one after another without holding them all.

    Memory, threads and files are taken at the first `fill` and given back by `close`, after which it can begin anew.

    Args:
        blocks: All blocks in order. Those that are streamed are built empty; their parameters become views of one slot
            on the device, valid from `fill` to the next `fill`.
        weights: Per block, the tensors to stream by the block's own names; an empty mapping for a resident block.
        device: Where blocks compute.
        dtype: What their floating weights become; bytes stay.
        cyclic: After the last block the first comes again, so it is read ahead too. Otherwise one pass is all, and its
            end closes the stream.
        pin_host_memory: Use page-locked host buffers, which CUDA copies from faster.

    Raises:
        WeightsError: A tensor has another shape than the network.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        weights: Sequence[Mapping[str, StoredTensor]],
        *,
        device: torch.device,
        dtype: torch.dtype,
        cyclic: bool,
        pin_host_memory: bool = False,
    ) -> None:
        self._blocks = blocks
        self._weights = weights
        self._device = device
        self._dtype = dtype
        self._cyclic = cyclic
        self._pin_host_memory = pin_host_memory
        self._streamed = [index for index, stored in enumerate(weights) if stored]
        self._open: _OpenStream | None = None
        for index in self._streamed:
            for name, stored in weights[index].items():
                verify_shape(stored, tuple(blocks[index].get_parameter(name).shape))

    def __iter__(self) -> Iterator[nn.Module]:
        """All blocks in order, each ready to use until the next is asked for."""
        try:
            for index, block in enumerate(self._blocks):
                if self._weights[index]:
                    self.fill(index)
                yield block
        finally:
            if not self._cyclic:
                self.close()

    def fill(self, index: int) -> None:
        """Bring a streamed block's weights into the slot and start reading what comes after it.

        Raises:
            WeightsError: A file ends early or cannot be read; file and tensor are named.
        """
        stream = self._open = self._open or self._take_memory()
        if not stream.under_way or stream.under_way[0].index != index:
            stream.forget()
            self._read_ahead(stream, index)
        reading = stream.under_way.popleft()
        for piece in reading.pieces:
            piece.result()
        for name, host in _host_views(self._weights[index], reading.buffer).items():
            # Not asynchronous: the host buffer is free for the next block as soon as this returns.
            stream.slot[name].copy_(host)
        stream.free.append(reading.buffer)
        self._read_ahead(stream, self._next(stream.under_way[-1].index if stream.under_way else index))

    def close(self) -> None:
        """Stop reading and give everything back; streamed blocks are empty afterwards."""
        if self._open is None:
            return
        stream, self._open = self._open, None
        stream.threads.shutdown(wait=True, cancel_futures=True)
        stream.reader.close()
        for index in self._streamed:
            for name in self._weights[index]:
                _set_parameter(self._blocks[index], name, stream.slot[name].to("meta"))

    def _take_memory(self) -> _OpenStream:
        first = self._streamed[0]
        slot = {
            name: torch.empty(stored.entry.shape, dtype=held_dtype(stored, self._dtype), device=self._device)
            for name, stored in self._weights[first].items()
        }
        host_bytes = max(_host_bytes(self._weights[index]) for index in self._streamed)
        buffers = [
            torch.empty(host_bytes, dtype=torch.uint8, pin_memory=self._pin_host_memory) for _ in range(HOST_BUFFERS)
        ]
        reader = TensorReader()
        for index in self._streamed:
            for name, stored in self._weights[index].items():
                reader.open(stored.path)
                _set_parameter(self._blocks[index], name, slot[name])
        return _OpenStream(slot, buffers, reader, ThreadPoolExecutor(READER_THREADS, thread_name_prefix="weights"))

    def _read_ahead(self, stream: _OpenStream, index: int | None) -> None:
        """Start reading this block and those after it, as far as there are free buffers."""
        while index is not None and stream.free:
            buffer = stream.free.pop()
            pieces: list[Future[None]] = []
            for name, host in _host_views(self._weights[index], buffer).items():
                stored = self._weights[index][name]
                view = bytes_of(host)
                for start in range(0, len(view), PIECE_BYTES):
                    part = view[start : start + PIECE_BYTES]
                    pieces.append(stream.threads.submit(stream.reader.read, stored, part, start))
            stream.under_way.append(_Reading(index, buffer, pieces))
            index = self._next(index)

    def _next(self, index: int) -> int | None:
        """The streamed block after this one."""
        position = self._streamed.index(index) + 1
        if position < len(self._streamed):
            return self._streamed[position]
        return self._streamed[0] if self._cyclic else None


@dataclass
class _Reading:
    """One block being read: the pieces end in any order."""

    index: int
    buffer: Tensor
    pieces: list[Future[None]]


@dataclass
class _OpenStream:
    """What a stream holds while it is in use."""

    slot: dict[str, Tensor]
    free: list[Tensor]
    reader: TensorReader
    threads: ThreadPoolExecutor
    under_way: deque[_Reading] = field(default_factory=deque[_Reading])

    def forget(self) -> None:
        """Give up what was read ahead, once no thread writes to its buffers any more."""
        while self.under_way:
            reading = self.under_way.popleft()
            for piece in reading.pieces:
                if not piece.cancel():
                    piece.exception()
            self.free.append(reading.buffer)


def block_weights(
    index: Mapping[str, StoredTensor], prefix: str, wanted: Callable[[str], bool] = lambda _: True
) -> dict[str, StoredTensor]:
    """The tensors of one block by its own names.

    Args:
        index: All tensors of the network.
        prefix: Where the block lies, such as `transformer_blocks.3.`.
        wanted: Which of the block's names to take.
    """
    own = {name.removeprefix(prefix): stored for name, stored in index.items() if name.startswith(prefix)}
    return {name: stored for name, stored in own.items() if wanted(name)}


def spread_resident(blocks: int, resident: int) -> set[int]:
    """Which blocks stay, evenly spread: while they compute, the next streamed one is read."""
    return {index for index in range(blocks) if (index + 1) * resident // blocks > index * resident // blocks}


def _set_parameter(block: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    setattr(block.get_submodule(path), leaf, nn.Parameter(tensor, requires_grad=False))


def _host_bytes(weights: Mapping[str, StoredTensor]) -> int:
    return sum(_aligned(stored.nbytes) for stored in weights.values())


def _host_views(weights: Mapping[str, StoredTensor], buffer: Tensor) -> dict[str, Tensor]:
    """A block's tensors as parts of a host buffer, in the file's dtypes."""
    views: dict[str, Tensor] = {}
    start = 0
    for name, stored in weights.items():
        views[name] = buffer[start : start + stored.nbytes].view(stored.dtype).view(stored.entry.shape)
        start += _aligned(stored.nbytes)
    return views


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
