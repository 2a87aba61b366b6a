"""Whether a tokenizer's files can be read to their end, without loading a library for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from sana_wm.errors import Problem, WeightsError
from sana_wm.weights.layout import TOKENIZER_FILES, Component
from sana_wm.weights.lookalikes import find_unfinished, recognise
from sana_wm.weights.reading import MAX_TOKENIZER_BYTES, REPAIR, is_file, is_missing, read_plain

#: Read by transformers where they are there.
SIDE_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


class _Content(BaseModel):
    """JSON of which nothing is kept: parsed to its end without one Python object, 33 MB take a quarter of a second."""


class _Vocabulary(_Content):
    model: _Content


def tokenizer_files(component: Component) -> tuple[Path, ...]:
    """Those of its files that are here, broken links among them."""
    paths = [component.folder / name for name in (*TOKENIZER_FILES, *SIDE_FILES)]
    return tuple(path for path in paths if not is_missing(path))


def check_tokenizer(component: Component) -> Iterator[Problem]:
    """What is wrong with a tokenizer's files: one problem for each that cannot be used."""
    if not any(is_file(component.folder / name) for name in TOKENIZER_FILES):
        expected = " or ".join(TOKENIZER_FILES)
        what = f"{component.name} has no vocabulary"
        yield Problem(str(component.folder), what, expected=expected, next_step=REPAIR)
    for path in tokenizer_files(component):
        try:
            wrong = _what_is_wrong(path)
        except WeightsError as error:
            yield Problem.of(str(path), error)
            continue
        if wrong is not None:
            what = f"this file of {component.name} is damaged"
            yield recognise(path) or Problem(str(path), what, got=wrong, next_step=REPAIR)
        elif unfinished := find_unfinished(path):
            yield unfinished


def _what_is_wrong(path: Path) -> str | None:
    content = read_plain(path, "the tokenizer", MAX_TOKENIZER_BYTES)
    if path.suffix == ".model":
        return _what_is_wrong_with_model(content)
    try:
        (_Vocabulary if path.name == "tokenizer.json" else _Content).model_validate_json(content)
    except ValidationError as error:
        return f"{len(content)} bytes, {error.errors(include_url=False, include_input=False)[0]['msg']}"
    return None


def _what_is_wrong_with_model(content: bytes) -> str | None:
    from sentencepiece import SentencePieceProcessor  # noqa: PLC0415  only where there is such a file

    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(content)
    except RuntimeError as error:
        return f"{len(content)} bytes that are no sentencepiece model ({str(error).splitlines()[0][:80]})"
    return None if len(processor) else "no vocabulary in it"
