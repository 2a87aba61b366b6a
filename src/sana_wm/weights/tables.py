"""Which tensors a network must have, and of which shape, from its config alone: no torch, no class.

The tables in `configs/expected_tensors/` hold tensor names with `{i}` for a layer, and shapes in terms of the config
(`3*hidden_size`). `python -m sana_wm.weights.expected` makes them from the real classes; a test holds them against the
classes at tiny and at released size, name by name.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any, cast

from sana_wm.shipped import CONFIGS

Size = int | str
Shape = tuple[int, ...]

TABLES = ("transformer", "vae", "refiner_transformer", "connectors", "stage1_text_encoder", "refiner_text_encoder")
_SIZE = re.compile(r"(?:(\d+)\*)?([a-z_][a-z_0-9.]*)(?:/(\d+))?(?:\+(\d+))?")


def expected_tensors(name: str, config: dict[str, Any]) -> dict[str, Shape] | None:
    """Names and shapes of the tensors that the loaders read for a component.

    Args:
        name: The component's name in `WeightLayout`.
        config: Its config.json; what it does not say is the class's default.

    Returns:
        Shapes by the module's tensor names (after the layout's renaming), or None where the table cannot know: the
        config asks for another structure than the released one, such as other layers in a VAE block.
    """
    table = read_table(name)
    config = config.get("text_config", config)
    if not _has_released_structure(table, config):
        return None
    symbols = network_sizes(name, config)
    shapes: dict[str, Shape] = {}
    for group in table["groups"]:
        layers = _layers(group, symbols)
        for template, sizes in group["tensors"].items():
            shape = tuple(evaluate(size, symbols) for size in sizes)
            shapes |= {template.replace("{i}", str(layer)): shape for layer in layers}
    return shapes


def network_sizes(name: str, config: dict[str, Any]) -> dict[str, int]:
    """The numbers that shapes are made of: config entries or their defaults, list entries as `entry.0`, and products.

    Args:
        name: The component's name in `WeightLayout`.
        config: Its config.json.
    """
    table, config = read_table(name), config.get("text_config", config)
    sizes: dict[str, int] = {}
    for key, default in table["defaults"].items():
        value = config.get(key, default)
        if isinstance(value, list):
            sizes |= {f"{key}.{index}": int(entry) for index, entry in enumerate(cast("list[int]", value))}
        else:
            sizes[key] = int(value)
    for derived, (left, operator, right) in table["derived"].items():
        a, b = sizes[left], sizes[right]
        sizes[derived] = a * b if operator == "*" else a // b
    return sizes


def read_table(name: str) -> dict[str, Any]:
    """One table as it is stored: `defaults`, `derived`, `structure`, `doubling` widths and `groups` of tensors."""
    text = (CONFIGS / "expected_tensors" / f"{name}.json").read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))


def evaluate(size: Size, symbols: dict[str, int]) -> int:
    """The number behind `64`, `3*hidden_size`, `block_out_channels.2/8` or `latent_channels+1`."""
    if isinstance(size, int):
        return size
    match = _SIZE.fullmatch(size)
    if match is None:
        raise ValueError(f"{size} is not a size")
    factor, symbol, divisor, offset = match.groups()
    return int(factor or 1) * symbols[symbol] // int(divisor or 1) + int(offset or 0)


def _has_released_structure(table: dict[str, Any], config: dict[str, Any]) -> bool:
    widths = [config.get(key, table["defaults"][key]) for key in table["doubling"]]
    return all(config.get(key, value) == value for key, value in table["structure"].items()) and all(
        later == 2 * earlier for entry in widths for earlier, later in pairwise(entry)
    )


def _layers(group: dict[str, Any], symbols: dict[str, int]) -> list[int]:
    """The layer numbers of a group: all, or all but every nth; a group without layers counts once."""
    count = evaluate(group.get("layers", 1), symbols)
    every = group.get("except_every")
    return [layer for layer in range(count) if every is None or (layer + 1) % symbols[every] != 0]
