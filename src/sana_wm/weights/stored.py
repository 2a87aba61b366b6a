"""How large a network's weights are, from the headers of its files: nothing but headers is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sana_wm.weights.headers import DTYPE_BYTES, TensorEntry, read_header
from sana_wm.weights.layout import Component


@dataclass(frozen=True)
class StoredWeights:
    """The tensors that the loaders read, by the module's names."""

    tensors: Mapping[str, TensorEntry]

    @property
    def elements(self) -> int:
        """Elements of all tensors."""
        return sum(math.prod(entry.shape) for entry in self.tensors.values())

    @property
    def largest_elements(self) -> int:
        """Elements of the largest tensor."""
        return max((math.prod(entry.shape) for entry in self.tensors.values()), default=0)

    def held_bytes(self, element_bytes: int) -> int:
        """Bytes of all tensors on the device: floating ones in the dtype that computes, bytes as they are."""
        return sum(math.prod(entry.shape) * held_element_bytes(entry, element_bytes) for entry in self.tensors.values())

    @property
    def unpacked_elements(self) -> int:
        """Elements of the largest matrix of bytes, which is unpacked to be used."""
        return max((math.prod(entry.shape) for entry in self.tensors.values() if entry.dtype == "I8"), default=0)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tensors in their files."""
        return sum(entry.end_bytes - entry.start_bytes for entry in self.tensors.values())

    def part(self, belongs: Callable[[str], bool]) -> StoredWeights:
        """The tensors whose names belong."""
        return StoredWeights({name: entry for name, entry in self.tensors.items() if belongs(name)})


def entries_of(shapes: Iterable[tuple[str, tuple[int, ...]]], dtype: str) -> dict[str, TensorEntry]:
    """Tensors of a network that lies in no file, as a file of this dtype (safetensors' name) would hold them."""
    sized = ((name, shape, math.prod(shape) * DTYPE_BYTES[dtype]) for name, shape in shapes)
    return {name: TensorEntry(dtype, shape, 0, nbytes) for name, shape, nbytes in sized}


def held_element_bytes(entry: TensorEntry, element_bytes: int) -> int:
    """Bytes of an element on the device."""
    return 1 if entry.dtype == "I8" else element_bytes


def read_stored_weights(component: Component) -> StoredWeights:
    """The sizes of a network's weights.

    Raises:
        WeightsError: A file is missing or damaged.
    """
    tensors: dict[str, TensorEntry] = {}
    for shard in component.shards:
        for stored, entry in read_header(shard).tensors.items():
            name = component.rules(stored)
            if name is not None:
                tensors[name] = entry
    return StoredWeights(tensors)
