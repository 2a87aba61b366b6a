"""Which weights become 8 bits, and what that makes of a network's files: decided from names and shapes alone.

A matrix W (out, in) becomes signed bytes Q of the same shape and scales S (out, groups): each row is cut into groups of
`group` inputs, each with one scale of its own, so that W is about Q times S. What stays as it is stands in
`configs/int8.json`, with the group; reports/int8.md says what decided it.

Source: symmetric rounding to the nearest step, as in Jacob et al., arXiv 1712.05877, with the zero point at 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sana_wm.shipped import CONFIGS
from sana_wm.weights.headers import TensorEntry
from sana_wm.weights.layout import Component, WeightLayout
from sana_wm.weights.stored import StoredWeights, entries_of

#: Of the largest value in its group a byte is this many steps away.
STEPS = 127
SCALE_SUFFIX = "_scale"
#: bfloat16, so that no dtype that computes rounds a scale again.
SCALE_DTYPE, BYTE_DTYPE = "BF16", "I8"
FOLDER_SUFFIX = "-int8"


@dataclass(frozen=True)
class Int8Rule:
    """What becomes bytes.

    Attributes:
        group: Inputs that share a scale.
        stays: By component, parts of names of what is left as it is. Other components are left whole.
    """

    group: int
    stays: Mapping[str, tuple[str, ...]]

    def packs(self, component: str, name: str, shape: tuple[int, ...]) -> bool:
        """Whether a tensor becomes bytes: a linear layer's matrix that is not named as staying."""
        stays = self.stays.get(component)
        is_matrix = len(shape) == 2 and name.endswith(".weight")
        return stays is not None and is_matrix and not any(part in name for part in stays)

    def groups(self, in_features: int) -> int:
        """Groups of a row; a row that they do not divide is one group."""
        return 1 if in_features % self.group else in_features // self.group


@cache
def int8_rule() -> Int8Rule:
    """The rule that ships with the program."""
    content = json.loads((CONFIGS / "int8.json").read_text(encoding="utf-8"))
    return Int8Rule(content["group"], {name: tuple(parts) for name, parts in content["stays"].items()})


def scale_of(name: str) -> str:
    """The name of a matrix's scales."""
    return name + SCALE_SUFFIX


def as_int8(component: str, weights: StoredWeights) -> StoredWeights:
    """What the headers of a network's 8-bit files say, from the headers of the files that they are made of.

    Args:
        component: Its name in `WeightLayout`.
        weights: As stored, by the module's names. Places in the result are those of no file.
    """
    rule = int8_rule()
    tensors: dict[str, TensorEntry] = {}
    for name, entry in weights.tensors.items():
        if rule.packs(component, name, entry.shape):
            rows, columns = entry.shape
            tensors |= entries_of([(name, entry.shape)], BYTE_DTYPE)
            tensors |= entries_of([(scale_of(name), (rows, rule.groups(columns)))], SCALE_DTYPE)
        else:
            tensors[name] = entry
    return StoredWeights(tensors)


def int8_folder(component: Component) -> Path:
    """Where a component's 8-bit files lie: beside the folder of the files that they are made of."""
    return component.folder.with_name(component.folder.name + FOLDER_SUFFIX)


def int8_components(layout: WeightLayout) -> tuple[Component, ...]:
    """The components that have 8-bit files, as they are stored."""
    return tuple(component for component in layout if component.name in int8_rule().stays)
