from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from sana_wm.weights.empty_checkpoint import RELEASED
from sana_wm.weights.facts import model_facts
from sana_wm.weights.tables import TABLES, evaluate, expected_tensors


def tiny_config(name: str) -> dict[str, Any]:
    import torch

    from sana_wm.weights.tiny_models import NETWORKS as TINY

    with torch.device("meta"):
        config = TINY[name].build().config
    config = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return json.loads(json.dumps(config.get("text_config", config)))


@pytest.mark.parametrize("size", ["tiny", "released"])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_equals_the_real_class_name_by_name(name: str, size: str):
    from sana_wm.weights.expected import class_tensors
    from sana_wm.weights.expected_networks import NETWORKS

    config = RELEASED[name] if size == "released" else tiny_config(name)
    known = {key: value for key, value in config.items() if key in NETWORKS[name].default_config}
    assert expected_tensors(name, config) == class_tensors(NETWORKS[name], known)


@pytest.mark.parametrize("name", TABLES)
def test_the_released_sizes_have_the_parameter_counts_of_the_facts(name: str):
    shapes = expected_tensors(name, RELEASED[name]) or {}
    buffers = ("recall_gate", "latents_mean", "latents_std")
    counts = {key: math.prod(shape) for key, shape in shapes.items() if not key.endswith(buffers)}
    assert sum(counts.values()) == model_facts().parameters[name].loaded


def test_the_stored_tables_are_what_the_generator_makes(tmp_path: Path):
    from sana_wm.shipped import CONFIGS
    from sana_wm.weights.expected import write_tables

    write_tables(tmp_path)
    for name in TABLES:
        stored = (CONFIGS / "expected_tensors" / f"{name}.json").read_text()
        assert (tmp_path / f"{name}.json").read_text() == stored


def test_a_config_of_another_structure_has_no_table():
    assert expected_tensors("vae", {"layers_per_block": [1, 1, 1, 1, 1]}) is None
    assert expected_tensors("vae", {"decoder_block_out_channels": [256, 512, 512]}) is None
    assert expected_tensors("transformer", {"conv_kernel_size": 3}) is None


def test_sizes_are_multiples_fractions_or_successors_of_config_entries():
    symbols = {"hidden_size": 64, "channels.1": 16}
    sizes = (5, "hidden_size", "3*hidden_size", "channels.1/8", "hidden_size+1")
    assert [evaluate(size, symbols) for size in sizes] == [5, 64, 192, 2, 65]
    with pytest.raises(ValueError, match="is not a size"):
        evaluate("hidden_size-1", symbols)
