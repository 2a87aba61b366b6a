"""Makes the tables in `configs/expected_tensors/` from the real classes: `python -m sana_wm.weights.expected`.

Each network is built twice on the meta device, at sizes chosen so that no two config entries look alike. A dimension
that is equal in both is a constant; any other must be a multiple, a fraction or the successor of one config entry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch

from sana_wm.shipped import CONFIGS
from sana_wm.weights.expected_networks import NETWORKS, Config, Network
from sana_wm.weights.tables import TABLES, Shape, Size


def class_tensors(network: Network, config: Config) -> dict[str, Shape]:
    """Names and shapes of what a loader reads, from the class itself on the meta device."""
    with torch.device("meta"):
        module = network.build(config)
    return {key: tuple(slot.shape) for key, slot in module.state_dict().items() if network.rules(key) is not None}


def make_table(network: Network) -> dict[str, Any]:
    """The table of one network, as it is written to JSON."""
    one, other = (class_tensors(network, config) for config in network.probes)
    sizes = tuple(_symbol_values(network, config) for config in network.probes)
    shapes = {name: [_express(pair, *sizes) for pair in zip(one[name], other[name], strict=True)] for name in one}
    symbols = {key: network.default_config[key] for key in _symbol_keys(network)}
    return {
        "defaults": symbols,
        "derived": {name: list(rule) for name, rule in network.derived.items()},
        "structure": {key: network.default_config[key] for key in network.structure},
        "doubling": list(network.doubling),
        "groups": _groups(network, shapes),
    }


def _symbol_keys(network: Network) -> list[str]:
    counts = [count for _, count in network.repeats if count is not None]
    every = [network.except_every] if network.except_every else []
    return sorted({*network.probes[0], *counts, *every})


def _symbol_values(network: Network, config: Config) -> dict[str, int]:
    values: dict[str, int] = {}
    for key, value in config.items():
        values |= {f"{key}.{i}": v for i, v in enumerate(value)} if isinstance(value, list) else {key: value}
    for name, (left, operator, right) in network.derived.items():
        values[name] = values[left] * values[right] if operator == "*" else values[left] // values[right]
    return values


def _express(pair: tuple[int, int], one: dict[str, int], other: dict[str, int]) -> Size:
    """The simplest expression that gives both numbers; a number that never changes is a constant."""
    if pair[0] == pair[1]:
        return pair[0]
    for (offset, divisor, factor), symbol in product(_multiples(), one):
        if all(v[symbol] * factor == (n - offset) * divisor for n, v in zip(pair, (one, other), strict=True)):
            head = f"{factor}*{symbol}" if factor != 1 else symbol
            return head + (f"/{divisor}" if divisor != 1 else "") + (f"+{offset}" if offset else "")
    raise ValueError(f"no config entry explains the sizes {pair}")


def _multiples() -> Iterator[tuple[int, int, int]]:
    for offset, divisor in product((0, 1), (1, 2, 4, 8)):
        yield from ((offset, divisor, factor) for factor in (range(1, 13) if divisor == 1 else (1,)))


def _groups(network: Network, shapes: dict[str, list[Size]]) -> list[dict[str, Any]]:
    """Tensors that repeat over the same layers, together."""
    layers: dict[str, list[int]] = {}
    templates: dict[str, list[Size]] = {}
    counts: dict[str, str | None] = {}
    for name, shape in shapes.items():
        template, layer, count = _templated(network, name)
        layers.setdefault(template, []).append(layer)
        counts[template] = count
        if templates.setdefault(template, shape) != shape:
            raise ValueError(f"the layers of {template} differ in shape")
    groups: dict[tuple[Any, ...], dict[str, list[Size]]] = {}
    for template, shape in templates.items():
        seen = layers[template]
        count: Size | None = None if "{i}" not in template else (counts[template] or len(seen))
        gaps = "{i}" in template and seen != list(range(network.probes[0].get(str(count), len(seen))))
        groups.setdefault((count, network.except_every if gaps else None), {})[template] = shape
    return [
        {key: value for key, value in (("layers", count), ("except_every", every)) if value is not None}
        | {"tensors": tensors}
        for (count, every), tensors in groups.items()
    ]


def _templated(network: Network, name: str) -> tuple[str, int, str | None]:
    for pattern, count in network.repeats:
        if match := re.search(pattern, name):
            return f"{name[: match.start(1)]}{{i}}{name[match.end(1) :]}", int(match.group(1)), count
    return name, 0, None


def write_tables(folder: Path) -> None:
    """Write every table, one tensor a line."""
    for name in TABLES:
        text = json.dumps(make_table(NETWORKS[name]), indent=1)
        text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: "[" + re.sub(r"\s*\n\s*", " ", m.group(1)) + "]", text)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_tables(CONFIGS / "expected_tensors")
