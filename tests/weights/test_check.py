from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from sana_wm.errors import Problem
from sana_wm.weights.check import check_layout
from sana_wm.weights.layout import WeightLayout, resolve_layout

ALL = ("stage1", "refiner", "vae_decode")
LAYOUTS = ("original", "diffusers")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from sana_wm.weights.tiny import write_tiny_checkpoint

    folders = {name: tmp_path_factory.mktemp(name) for name in LAYOUTS}
    for name, folder in folders.items():
        write_tiny_checkpoint(folder, name)
    return folders


@pytest.fixture
def root(pristine: dict[str, Path], tmp_path: Path) -> Path:
    """An original-layout checkpoint to damage."""
    return shutil.copytree(pristine["original"], tmp_path / "weights")


def original(root: Path) -> WeightLayout:
    return resolve_layout("original", root, root / "gemma-2-2b-it")


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_whole_checkpoint_has_no_problems(name: str, pristine: dict[str, Path]):
    root = pristine[name]
    gemma_root = root / "gemma-2-2b-it" if name == "original" else None
    assert check_layout(resolve_layout(name, root, gemma_root), ALL) == []


def test_an_empty_folder_names_every_part_that_is_missing(tmp_path: Path):
    problems = check_layout(original(tmp_path), ALL)
    assert [Path(problem.field).relative_to(tmp_path).as_posix() for problem in problems] == [
        "gemma-2-2b-it",
        "gemma-2-2b-it",
        "vae",
        "dit",
        "refiner/text_encoder",
        "refiner/text_encoder",
        "refiner/connectors",
        "refiner/transformer",
    ]
    assert hinted_fields(problems) == ["gemma_root"] * 2 + ["root"] * 2 + ["refiner_root"] * 4
    problems = check_layout(resolve_layout("diffusers", tmp_path), ALL)
    assert hinted_fields(problems) == ["root"] * 4 + ["refiner_root"] * 4


def hinted_fields(problems: list[Problem]) -> list[str]:
    """The manifest fields that the next steps name."""
    return [re.findall(r"model\.(\w+)", problem.next_step or "")[0] for problem in problems]


def test_only_what_the_stages_need_is_checked(tmp_path: Path, root: Path):
    shutil.rmtree(root / "refiner")
    assert check_layout(original(root), ("stage1", "vae_decode")) == []
    assert check_layout(original(root), ("refiner",)) != []


SHARD = "refiner/transformer/diffusion_pytorch_model-00002-of-00002.safetensors"
INDEX = "refiner/transformer/diffusion_pytorch_model.safetensors.index.json"


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def blank(path: Path) -> None:
    path.write_text("{")


def duplicate(path: Path) -> None:
    shutil.copy(path, path.with_name(path.name.replace("00002-of", "00003-of")))


def promise(path: Path) -> None:
    index = json.loads(path.read_text())
    index["weight_map"]["promised.weight"] = next(iter(index["weight_map"].values()))
    path.write_text(json.dumps(index))


def misshape(path: Path) -> None:
    edit(path, lambda tensors: tensors.update({"latents_mean": tensors["latents_mean"][:5].copy()}))


def as_integer(path: Path) -> None:
    edit(path, lambda tensors: tensors.update({"latents_mean": tensors["latents_mean"].astype("int32")}))


def drop(path: Path) -> None:
    edit(path, lambda tensors: tensors.pop("latents_mean"))


def add(path: Path) -> None:
    edit(path, lambda tensors: tensors.update({"stranger": tensors["latents_mean"]}))


VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("file", "damage", "text"),
    [
        (
            "vae/config.json",
            remove,
            r"vae/config\.json: the config .*vae/config\.json cannot be read; got .*No such file",
        ),
        ("vae/config.json", blank, r"vae/config\.json: the config in .* is not JSON"),
        ("gemma-2-2b-it/tokenizer.json", remove, r"gemma-2-2b-it: stage1_tokenizer has no vocabulary"),
        ("dit/sana_wm_1600m_720p.safetensors", remove, r"720p\.safetensors: a weight file of transformer is missing"),
        (SHARD, remove, r"00002-of-00002\.safetensors: a weight file of refiner_transformer is missing"),
        (SHARD, cut, r"00002-of-00002\.safetensors is damaged: it ends at byte \d+, inside tensor"),
        (SHARD, duplicate, r"00003-of-00002\.safetensors: this shard is not in the index"),
        (INDEX, blank, r"index\.json: a weight index cannot be read"),
        (INDEX, promise, r"00001-of-00002\.safetensors: tensor promised\.weight is not in this file"),
        (VAE, misshape, r"tensor latents_mean has the wrong shape; got \[5\]; expected \[128\]"),
        (VAE, as_integer, r"tensor latents_mean has the wrong dtype; got I32; expected F32 or BF16 or F16"),
        (VAE, drop, r"vae: tensor latents_mean is in none of the files"),
        (VAE, add, r"tensor stranger is not of this network"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_one_damage_is_one_problem_that_says_where(file: str, damage: Callable[[Path], None], text: str, root: Path):
    damage(root / file)
    problems = check_layout(original(root), ALL)
    assert len(problems) == 1, problems
    assert re.search(text, str(problems[0])), problems[0]


def test_all_damages_are_named_at_once(root: Path):
    cut(root / SHARD)
    drop(root / VAE)
    remove(root / "gemma-2-2b-it" / "config.json")
    text = "\n".join(map(str, check_layout(original(root), ALL)))
    assert "inside tensor" in text
    assert "latents_mean" in text
    assert "gemma-2-2b-it/config.json" in text


def test_a_tensor_stored_twice_is_found(root: Path):
    path = root / "dit" / "sana_wm_1600m_720p.safetensors"
    metadata = {
        "config": json.dumps({"num_layers": 4, "hidden_size": 64, "linear_head_dim": 16, "caption_channels": 64})
    }
    tensors = load_file(path)
    save_file(tensors | {"model.final_layer.linear.bias": tensors["final_layer.linear.bias"]}, path, metadata=metadata)
    (problem,) = check_layout(original(root), ("stage1",))
    assert "is there twice" in problem.what


def test_another_model_is_told_in_a_few_lines(root: Path):
    """Without its metadata the tiny Stage 1 file claims the released sizes: everything in it is wrong."""
    edit(root / "dit" / "sana_wm_1600m_720p.safetensors", lambda tensors: None)
    problems = check_layout(original(root), ("stage1",))
    assert len(problems) == 9
    assert problems[-1].what.endswith("more tensors of transformer are wrong")
    assert all(isinstance(problem, Problem) for problem in problems)


def test_a_config_of_another_structure_leaves_names_to_the_strict_loader(root: Path):
    config = json.loads((root / "vae" / "config.json").read_text())
    config["layers_per_block"] = [1, 1, 1, 1, 1]
    (root / "vae" / "config.json").write_text(json.dumps(config))
    drop(root / VAE)
    assert check_layout(original(root), ("vae_decode",)) == []
    edit(root / VAE, lambda tensors: tensors.update({"latents_std": tensors["latents_std"].astype("int32")}))
    assert "wrong dtype" in check_layout(original(root), ("vae_decode",))[0].what


def test_a_whole_text_encoder_of_another_model_is_found(root: Path):
    """A larger Gemma loads without a complaint; only the next network would fail, minutes later."""
    import numpy as np

    from sana_wm.weights.tables import expected_tensors

    folder = root / "refiner" / "text_encoder"
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 5
    (folder / "config.json").write_text(json.dumps(config))
    for weights in folder.glob("model*"):
        weights.unlink()
    shapes = expected_tensors("refiner_text_encoder", config) or {}
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, folder / "model.safetensors")
    (problem,) = check_layout(original(root), ("refiner",))
    assert problem.what == "refiner_text_encoder is not the one that connectors was trained with"
    assert problem.got == "num_hidden_layers 5"
    assert problem.expected == "num_hidden_layers 3, as text_proj_in_factor of connectors says"
