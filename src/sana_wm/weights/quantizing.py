"""Writes the 8-bit files of a network, once; they name the files that they were made of by their identity."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sana_wm.durable import durable_file, make_folder, write_durably
from sana_wm.errors import WeightsError
from sana_wm.weights.component_config import read_config
from sana_wm.weights.headers import identity_digest, read_header
from sana_wm.weights.int8 import STEPS, int8_components, int8_folder, int8_rule, scale_of
from sana_wm.weights.layout import REPAIR, Component, WeightLayout
from sana_wm.weights.reading import is_file

Say = Callable[[str], None]


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix as bytes and scales.

    Args:
        weight: (out, in), any floating dtype, on any device.

    Returns:
        (out, in) int8, and (out, groups) bfloat16. A group of zeros has the scale 0.
    """
    groups = int8_rule().groups(weight.shape[1])
    grouped = weight.float().unflatten(1, (groups, -1))
    largest = grouped.abs().amax(dim=-1)
    scale = (largest / STEPS).to(torch.bfloat16)
    # Rounded down, the largest value would lie beyond the last step.
    scale = torch.where(scale.float() * STEPS < largest, scale * (1 + 2**-7), scale)
    steps = grouped / torch.where(scale == 0, 1, scale.float()).unsqueeze(-1)
    return steps.round().clamp(-STEPS, STEPS).to(torch.int8).flatten(1), scale


def quantize_layout(layout: WeightLayout, say: Say) -> WeightLayout:
    """The layout with 8-bit files in place of those of the refiner and its text encoder, made where there are none.

    Raises:
        WeightsError: A stored file is missing or damaged.
        HandoffError: The folder beside them cannot be written.
    """
    return replace(layout, **{one.name: quantize_component(one, say) for one in int8_components(layout)})


def quantize_component(component: Component, say: Say) -> Component:
    """The component's 8-bit files; a file that was made of the very same stored one, by the same rule, stays.

    Args:
        component: As it is stored.
        say: Told before a file is made.

    Raises:
        WeightsError: A stored file is missing or damaged.
        HandoffError: The folder beside it cannot be written.
    """
    folder = int8_folder(component)
    made: list[Path] = []
    for shard in component.shards:
        path, origin = folder / shard.name, _origin(shard)
        made.append(path)
        if _was_made(path, origin):
            continue
        say(f"{component.name}: {shard.name} becomes 8 bits, in {folder}")
        make_folder(folder)
        with durable_file(path) as part:
            save_file(dict(_quantized(component, shard)), part, metadata=origin)
    config = folder / "config.json"
    content = json.dumps(read_config(component), indent=2, sort_keys=True) + "\n"
    if not is_file(config) or config.read_text(encoding="utf-8") != content:
        write_durably(config, content)
    # Its rules leave the module's own names as they are, and say which the network has and no file.
    return replace(component, folder=folder, config=config, shards=tuple(made), index=None)


def _was_made(path: Path, origin: dict[str, str]) -> bool:
    """Whether a whole 8-bit file of this origin is there; a damaged one is made again."""
    try:
        return is_file(path) and read_header(path).metadata == origin
    except WeightsError:
        return False


def _origin(shard: Path) -> dict[str, str]:
    """What an 8-bit file says of itself: whose it is, and by which rule it was made."""
    rule = int8_rule()
    said = {
        "format": 1,
        "made_of": shard.name,
        "made_of_identity_sha256": identity_digest(shard),
        "group": rule.group,
        "stays": rule.stays,
    }
    # One entry: the library writes several in any order, and the same weights shall make the same bytes.
    return {"sana_wm_int8": json.dumps(said, sort_keys=True)}


def _quantized(component: Component, shard: Path) -> Iterator[tuple[str, Tensor]]:
    """A file's tensors by the module's names, one at a time."""
    rule = int8_rule()
    try:
        with safe_open(shard, framework="pt", device="cpu", backend="pread") as file:
            for stored, entry in read_header(shard).tensors.items():
                if (name := component.rules(stored)) is None:
                    continue
                tensor = file.get_tensor(stored)
                if rule.packs(component.name, name, entry.shape):
                    packed, scale = quantize(tensor)
                    if not scale.isfinite().all():
                        what = f"tensor {stored} in {shard} has numbers that are not finite"
                        raise WeightsError(what, expected="finite weights", next_step=REPAIR)
                    yield name, packed
                    yield scale_of(name), scale
                else:
                    yield name, tensor.clone()
    except SafetensorError as error:
        raise WeightsError(f"the weight file {shard} cannot be read", got=error, next_step=REPAIR) from error
