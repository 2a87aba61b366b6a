"""The prompts of a run: read, checked as texts, and held against what the text encoders read of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sana_wm.errors import Problem, UsageError, WeightsError
from sana_wm.manifest.guidance import guided_steps
from sana_wm.manifest.model import Manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.sizes import REFINER_PROMPT_TOKENS, STAGE1_PROMPT_TOKENS
from sana_wm.text.characters import describe_character, hidden_characters, is_blank, position
from sana_wm.text.reading import UserText, read_text, tidy
from sana_wm.weights.layout import Component, WeightLayout
from sana_wm.weights.prompt_tokens import (
    TokenCount,
    count_negative_prompt,
    count_refiner_prompt,
    count_stage1_prompt,
    may_be_cut,
)

#: The text encoders take 300 and 1024 tokens; this is another file.
MAX_BYTES = 1024**2
#: Characters that are shown on either side of a cut, and hidden characters that are named.
SHOWN_CHARACTERS, SHOWN_HIDDEN = 40, 3


def read_prompt(manifest: Manifest) -> UserText:
    """The prompt, wherever it stands.

    Raises:
        UsageError: It cannot be read, is empty, or is no text.
    """
    asked = manifest.input
    if asked.prompt_file is not None:
        return read_prompt_file(Path(asked.prompt_file))
    assert asked.prompt is not None  # the model sees to it that exactly one is given
    return check_prompt(tidy(asked.prompt), "the prompt")


def read_prompt_file(path: Path) -> UserText:
    """A prompt from its file, without blanks around it.

    Raises:
        UsageError: It cannot be read, is empty, or is no text.
    """
    text = read_text(path, holds="a prompt", limit_bytes=MAX_BYTES)
    return check_prompt(UserText(text.content.strip(), text.notes), str(path))


def read_negative_prompt(manifest: Manifest) -> UserText:
    """The negative prompt, which may be empty.

    Raises:
        UsageError: It is no text.
    """
    text = tidy(manifest.input.negative_prompt)
    return text if not text.content else check_prompt(text, "the negative prompt")


def check_prompt(text: UserText, name: str) -> UserText:
    """A prompt that shows something and is a text; `name` is how messages call it.

    Raises:
        UsageError: It does not.
    """
    content = text.content
    if is_blank(content):
        hidden = [describe_character(content[index]) for index in hidden_characters(content)][:SHOWN_HIDDEN]
        got = f"nothing visible: {', '.join(hidden)}" if hidden else None
        raise UsageError(f"{name} is empty", got=got, expected="a prompt", next_step="Say what is seen.")
    if (at := content.find("\0")) >= 0:
        got = f"a NUL in {position(content, at)}"
        raise UsageError(f"{name} holds binary data", got=got, expected="text", next_step="Delete it.")
    return text


def check_prompts(manifest: Manifest) -> list[Problem]:
    """What is wrong with the prompts that are given."""
    asked = manifest.input
    looks = [("input.negative_prompt", read_negative_prompt)]
    if asked.prompt_file is not None or asked.prompt is not None:
        looks.append(("input.prompt" if asked.prompt_file is None else "input.prompt_file", read_prompt))
    problems: list[Problem] = []
    for field, read in looks:
        try:
            read(manifest)
        except UsageError as error:
            problems.append(Problem.of(field, error))
    return problems


def notes_on_prompts(manifest: Manifest) -> list[str]:
    """What was done to read the prompts, and which hidden characters are in them, a sentence each."""
    name = "input.prompt" if manifest.input.prompt_file is None else "input.prompt_file"
    texts = ((name, read_prompt(manifest)), ("input.negative_prompt", read_negative_prompt(manifest)))
    return [f"{field}: {words}" for field, text in texts for words in (*text.notes, *describe_hidden(text.content))]


def describe_hidden(text: str) -> Iterator[str]:
    """Characters that the tokenizer reads and nobody sees, in words."""
    found = list(hidden_characters(text))
    names = dict.fromkeys(f"{describe_character(text[index])} in {position(text, index)}" for index in found)
    if names:
        shown = ", ".join(list(names)[:SHOWN_HIDDEN])
        more = f" and {len(names) - SHOWN_HIDDEN} more" if len(names) > SHOWN_HIDDEN else ""
        yield f"hidden characters that the tokenizer reads: {shown}{more}"


@dataclass(frozen=True)
class _Reader:
    """Who reads a prompt, and how that is counted."""

    field: str
    text: str
    name: str
    length: int
    tokenizer: Component
    count: Callable[[Component, str], TokenCount]

    def doubt(self) -> str | None:
        """What it would not read of the text, or that this is not known, in words."""
        if not may_be_cut(self.text, self.length):
            return None
        try:
            counted = self.count(self.tokenizer, self.text)
        except WeightsError as error:
            return f"{self.field}: {error}; {self.name} reads {self.length} tokens at most"
        return None if counted.cut is None else f"{self.field}: {describe_cut(self.text, counted, self.name)}"


def doubts_about_length(manifest: RunManifest, layout: WeightLayout) -> list[str]:
    """What of the prompts the text encoders would not read, a sentence for each.

    Args:
        manifest: With the prompt's text in place.
        layout: Its weights, whose tokenizers count.
    """
    prompt, negative = (
        ("input.prompt", manifest.input.prompt),
        ("input.negative_prompt", manifest.input.negative_prompt),
    )
    stage1 = ("Stage 1", STAGE1_PROMPT_TOKENS, layout.stage1_tokenizer)
    readers = [_Reader(*prompt, *stage1, count_stage1_prompt)]
    if guided_steps(manifest.stage1):  # else it is not used
        readers.append(_Reader(*negative, *stage1, count_negative_prompt))
    if manifest.refiner.enabled:
        refiner = ("the refiner", REFINER_PROMPT_TOKENS, layout.refiner_tokenizer)
        readers.append(_Reader(*prompt, *refiner, count_refiner_prompt))
    return [doubt for reader in readers if (doubt := reader.doubt()) is not None]


def describe_cut(text: str, counted: TokenCount, reader: str) -> str:
    """Where a prompt is cut: the last words that are kept and the first that are lost."""
    cut = len(text) if counted.cut is None else counted.cut
    kept = " ".join(text[max(cut - SHOWN_CHARACTERS, 0) : cut].split())
    lost = " ".join(text[cut : cut + SHOWN_CHARACTERS].split())
    over = counted.num_tokens - counted.room
    return (
        f"{counted.num_tokens} tokens, of which {reader} reads {counted.room}; the last {over} are lost: "
        f'it is cut after "…{kept}" and before "{lost}…"'
    )
