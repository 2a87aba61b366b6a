"""What a stream remembers between chunks: bounded, and enough to go on with the same bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, cast

from torch import Tensor

from sana_wm.errors import HandoffError
from sana_wm.models.stage1.memory import BlockMemory, ChunkKeys, DeltaNetMemory
from sana_wm.planning.streaming import Window


@dataclass(frozen=True)
class StreamMemory:
    """The memory after some chunks.

    Attributes:
        window: Which earlier chunks the softmax blocks see.
        next_chunk: The chunk that comes next.
        last: Per block, what the last chunk carries on; its keys are in `keys`.
        keys: By chunk, per block, keys and values of the chunks that the next one sees; `None` for delta-net blocks.
    """

    window: Window
    next_chunk: int = 0
    last: tuple[BlockMemory, ...] = ()
    keys: Mapping[int, tuple[ChunkKeys | None, ...]] = field(default_factory=dict[int, tuple[ChunkKeys | None, ...]])

    def past(self) -> list[BlockMemory] | None:
        """Per block, what the next chunk sees; `None` before the first."""
        if not self.last:
            return None
        seen = [self.keys[chunk] for chunk in self.window.of(self.next_chunk)]
        return [
            replace(block, keys=tuple(keys for chunk in seen if (keys := chunk[index]) is not None))
            for index, block in enumerate(self.last)
        ]

    def after(self, made: Sequence[BlockMemory], *, in_place: bool = False) -> StreamMemory:
        """The memory with one more chunk, without what no later chunk sees.

        Args:
            made: Per block, what the chunk leaves.
            in_place: Write it where what drops out lay, as far as shapes agree: this memory is spent then, and the
                memories of all steady chunks lie in the same place.
        """
        if in_place:
            made = self._write_over(made)
        known = {**self.keys, self.next_chunk: tuple(block.keys[0] if block.keys else None for block in made)}
        following = self.next_chunk + 1
        kept = {chunk: keys for chunk, keys in known.items() if self._is_seen(chunk, following)}
        return StreamMemory(self.window, following, tuple(replace(block, keys=()) for block in made), kept)

    def _write_over(self, made: Sequence[BlockMemory]) -> list[BlockMemory]:
        following = self.next_chunk + 1
        spent = [chunk for chunk in self.keys if not self._is_seen(chunk, following)]
        places: list[BlockMemory] = []
        for index, block in enumerate(made):
            old = self.last[index] if self.last else BlockMemory()
            keys = self.keys[spent[0]][index] if spent else None
            places.append(
                BlockMemory(
                    _write(block.delta_net, old.delta_net),
                    tuple(_write(part, keys) for part in block.keys),
                    _write(block.feed_forward, old.feed_forward),
                )
            )
        return places

    def _is_seen(self, chunk: int, following: int) -> bool:
        """Whether chunk `following` sees this one, or, as only the first may, a later one does."""
        return chunk in self.window.of(following) or (chunk == 0 and self.window.sink)

    def to_tensors(self) -> dict[str, Tensor]:
        """All tensors by name, for a checkpoint."""
        tensors: dict[str, Tensor] = {}
        for index, block in enumerate(self.last):
            _name(tensors, f"last.{index}", block)
        for chunk, blocks in self.keys.items():
            for index, keys in enumerate(blocks):
                _name(tensors, f"keys.{chunk}.{index}", keys)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], window: Window, next_chunk: int, blocks: int) -> StreamMemory:
        """The memory that `to_tensors` gave; tensors stay on their device.

        Args:
            tensors: From a checkpoint.
            window: Of the run.
            next_chunk: The chunk that comes next.
            blocks: Blocks of the network.

        Raises:
            HandoffError: A tensor is missing.
        """
        numbers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("keys.")})
        missing = [chunk for chunk in window.of(next_chunk) if chunk not in numbers]
        if missing or f"last.{blocks - 1}.feed_forward" not in tensors:
            raise HandoffError(
                "a checkpoint of the stream is incomplete",
                got=f"keys of the chunks {numbers}",
                expected=f"those of {list(window.of(next_chunk))}, and {blocks} blocks",
                next_step="Delete the checkpoint: an older one is used, or the stage starts over.",
            )
        last = tuple(
            BlockMemory(
                delta_net=_take(DeltaNetMemory, tensors, f"last.{index}.delta_net"),
                feed_forward=tensors[f"last.{index}.feed_forward"],
            )
            for index in range(blocks)
        )
        keys = {
            chunk: tuple(_take(ChunkKeys, tensors, f"keys.{chunk}.{index}") for index in range(blocks))
            for chunk in numbers
        }
        return cls(window, next_chunk, last, keys)


def _write(new: Any, old: Any) -> Any:
    """`new`, in the tensors of `old` where they have its shape, else in copies of its own."""
    if isinstance(new, Tensor):
        fits = isinstance(old, Tensor) and old.shape == new.shape
        return old.copy_(new) if fits else new.clone()
    if is_dataclass(new):
        parts = {entry.name: _write(getattr(new, entry.name), getattr(old, entry.name, None)) for entry in fields(new)}
        return replace(cast(Any, new), **parts)
    return new


def _name(tensors: dict[str, Tensor], name: str, part: object) -> None:
    """Add the tensors of nested dataclasses under dotted names."""
    if isinstance(part, Tensor):
        tensors[name] = part
    elif is_dataclass(part):
        for entry in fields(part):
            _name(tensors, f"{name}.{entry.name}", getattr(part, entry.name))


def _take(kind: Any, tensors: Mapping[str, Tensor], name: str) -> Any:
    """A dataclass of tensors from its dotted names; `None` where there is none of them."""
    found = {entry.name: tensors.get(f"{name}.{entry.name}") for entry in fields(kind)}
    return None if all(tensor is None for tensor in found.values()) else kind(**found)
