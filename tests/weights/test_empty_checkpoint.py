"""The released model without its numbers: whole for everyone who looks at it, and of its true size."""

from __future__ import annotations

from pathlib import Path

import pytest

from sana_wm.errors import UsageError
from sana_wm.weights.check import check_layout
from sana_wm.weights.empty_checkpoint import RELEASED, write_empty_checkpoint
from sana_wm.weights.facts import model_facts
from sana_wm.weights.layout import WeightLayout
from sana_wm.weights.tables import TABLES


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> WeightLayout:
    return write_empty_checkpoint(tmp_path_factory.mktemp("empty"))


def test_it_is_a_whole_checkpoint(layout: WeightLayout) -> None:
    assert check_layout(layout, ("stage1", "refiner", "vae_decode")) == []


@pytest.mark.parametrize("name", TABLES)
def test_a_file_has_the_size_of_the_released_weights_and_takes_no_disk(layout: WeightLayout, name: str) -> None:
    status = getattr(layout, name).shards[0].stat()
    parameters = model_facts().parameters[name].loaded
    assert 2 * parameters <= status.st_size <= 2.0001 * parameters + 1_000_000
    assert status.st_blocks * 512 < 1_000_000


def test_the_instruction_prefix_is_about_as_long_as_with_gemmas_own_tokenizer(layout: WeightLayout) -> None:
    from diffusers.pipelines.sana_wm.pipeline_sana_wm import DEFAULT_CHI_PROMPT

    from sana_wm.models.loading import load_tokenizer
    from sana_wm.planning.text import STAGE1_TEXT_TOKENS
    from sana_wm.sizes import STAGE1_PROMPT_TOKENS

    instruction = "\n".join(DEFAULT_CHI_PROMPT)
    tokens = len(load_tokenizer(layout.stage1_tokenizer).encode(instruction)) + STAGE1_PROMPT_TOKENS - 2
    assert 0.98 * STAGE1_TEXT_TOKENS <= tokens <= STAGE1_TEXT_TOKENS


def test_another_structure_is_refused(tmp_path: Path) -> None:
    configs = {**RELEASED, "refiner_text_encoder": {"attention_bias": True}}
    with pytest.raises(UsageError, match="refiner_text_encoder"):
        write_empty_checkpoint(tmp_path, configs)


def test_a_download_is_not_overwritten_and_a_model_of_zeros_is(tmp_path: Path) -> None:
    shard = tmp_path / "theirs" / "vae" / "diffusion_pytorch_model.safetensors"
    shard.parent.mkdir(parents=True)
    shard.write_text("weights")
    with pytest.raises(UsageError, match="not empty"):
        write_empty_checkpoint(tmp_path / "theirs")
    assert shard.read_text() == "weights"
    write_empty_checkpoint(tmp_path / "ours")
    assert write_empty_checkpoint(tmp_path / "ours").has_empty_weights
