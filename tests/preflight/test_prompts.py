"""Prompts held against what the text encoders read of them, with the tokenizers of the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from sana_wm.preflight.prospect import inspect
from sana_wm.sizes import STAGE1_PROMPT_TOKENS
from sana_wm.weights.layout import Component
from sana_wm.weights.manifest_layout import locate_weights
from sana_wm.weights.prompt_tokens import count_negative_prompt, count_stage1_prompt, instruction_prefix

Write = Callable[..., Path]
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tokenizer(write_manifest: Write) -> Component:
    manifest = inspect(write_manifest(), {}).manifest
    assert manifest is not None
    return locate_weights(manifest).stage1_tokenizer


@pytest.mark.parametrize("words", [1, 40, 300])
def test_the_count_and_the_cut_are_those_of_the_text_encoder(tokenizer: Component, words: int) -> None:
    prompt = " ".join(f"house {number}," for number in range(words))
    own = AutoTokenizer.from_pretrained(tokenizer.folder)
    prefix = len(own.encode(instruction_prefix()))
    ids = own.encode(instruction_prefix() + prompt)
    counted = count_stage1_prompt(tokenizer, prompt)
    assert counted.num_tokens == len(ids) - prefix
    read = own.decode(ids[: prefix + STAGE1_PROMPT_TOKENS - 2], skip_special_tokens=True)
    if counted.cut is None:
        assert counted.num_tokens <= counted.room
    else:
        assert read.endswith(prompt[: counted.cut][-20:])


def test_the_prefix_is_the_one_that_stage_1_uses() -> None:
    from diffusers.pipelines.sana_wm.pipeline_sana_wm import DEFAULT_CHI_PROMPT

    assert instruction_prefix() == "\n".join(DEFAULT_CHI_PROMPT)


def test_the_last_token_that_fits_is_not_warned_of(tokenizer: Component) -> None:
    text = "a road of stone and sand, " * 300
    room = count_negative_prompt(tokenizer, text).room
    cut = count_negative_prompt(tokenizer, text).cut
    assert cut is not None
    whole = count_negative_prompt(tokenizer, text[:cut])
    assert (whole.num_tokens, whole.cut) == (room, None)


def test_what_is_cut_off_each_prompt_is_shown(write_manifest: Write, sana_wm: Cli) -> None:
    prompt = "A quiet road. " * 200 + "In the end a red door."
    code, _, err = sana_wm("validate-manifest", write_manifest(input__prompt=prompt, input__negative_prompt=prompt))
    assert code == 0
    for said in ("input.prompt: ", "input.negative_prompt: ", "of which Stage 1 reads", "of which the refiner reads"):
        assert said in err
    assert 'it is cut after "…' in err


@pytest.mark.parametrize("stage1", [{"guidance_scale": 1.0}, {"guidance_until": 0.0}])
def test_a_negative_prompt_that_is_not_used_is_not_counted(
    write_manifest: Write, sana_wm: Cli, stage1: dict[str, float]
) -> None:
    path = write_manifest(input__negative_prompt="fog " * 900, stage1=stage1)
    assert "input.negative_prompt" not in sana_wm("validate-manifest", path)[2]


@pytest.mark.parametrize(
    ("prompt", "code", "said"),
    [
        ("\u200b\u2060", 2, "prompt is empty"),
        ("A road\0.", 2, "holds binary data; got a NUL in line 1, column 7"),
        ("A\u200broad.", 0, "hidden characters that the tokenizer reads: U+200B ZERO WIDTH SPACE in line 1, column 2"),
        ("\ufeffA road.", 0, "its byte order mark is left out"),
        ("A road.\r\nDawn.", 0, "its carriage returns are read as line ends"),
    ],
)
def test_prompts_in_the_manifest_meet_the_same_reader(
    write_manifest: Write, sana_wm: Cli, prompt: str, code: int, said: str
) -> None:
    found, _, err = sana_wm("validate-manifest", write_manifest(input__prompt=prompt))
    assert (found, said in err) == (code, True), err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_run_gets_one_prompt_however_its_file_was_saved(
    write_manifest: Write, tmp_path: Path, encoding: str
) -> None:
    (tmp_path / "p.txt").write_text("A road.\r\nDawn.\r\n", encoding=encoding, newline="")
    resolved = inspect(write_manifest(input__prompt=..., input__prompt_file="p.txt"), {}).require()[1]
    assert resolved.input.prompt == "A road.\nDawn."
