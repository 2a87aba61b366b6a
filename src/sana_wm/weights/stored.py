"""How large a network's weights are, from the headers of its files: nothing but headers is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sana_wm.weights.headers import TensorEntry, read_header
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

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tensors in their files."""
        return sum(entry.end_bytes - entry.start_bytes for entry in self.tensors.values())

    def part(self, belongs: Callable[[str], bool]) -> StoredWeights:
        """The tensors whose names belong."""
        return StoredWeights({name: entry for name, entry in self.tensors.items() if belongs(name)})


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
