"""How many tokens of a prompt the text encoders read, counted with the weights' own tokenizer and without torch."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

from tokenizers import Tokenizer

from sana_wm.errors import WeightsError
from sana_wm.sizes import REFINER_PROMPT_TOKENS, STAGE1_PROMPT_TOKENS
from sana_wm.weights.layout import Component
from sana_wm.weights.reading import is_file

#: A token of Gemma stands for a byte at least, and its first one for the beginning; the rest is for where prefix and
#: prompt meet. Counting so short a text would only cost the second that a tokenizer of 33 MB takes to load.
SPARE_TOKENS = 20
PREFIX_SOURCE = "pipelines/sana_wm/pipeline_sana_wm.py"
PREFIX_NAME = "DEFAULT_CHI_PROMPT"


@dataclass(frozen=True)
class TokenCount:
    """A prompt in tokens.

    Attributes:
        num_tokens: Of the prompt itself.
        room: How many of them are read at most.
        cut: Where in the prompt, in characters, the first lost token begins; `None` where all are read.
    """

    num_tokens: int
    room: int
    cut: int | None


def prefixed_length(prefix_tokens: int) -> int:
    """Tokens of Stage 1's instruction prefix and prompt that are read: the prompt's room begins at the prefix's last.

    Args:
        prefix_tokens: Of the prefix alone, with its beginning mark.

    Source: `SanaWMPipeline.encode_prompt` of diffusers.
    """
    return prefix_tokens + STAGE1_PROMPT_TOKENS - 2


def may_be_cut(text: str, room: int) -> bool:
    """Whether a text is long enough to be counted."""
    return len(text.encode(errors="replace")) > room - SPARE_TOKENS


def count_stage1_prompt(tokenizer: Component, prompt: str) -> TokenCount:
    """Of the prompt behind its instruction prefix.

    Raises:
        WeightsError: There is no tokenizer to count with.
    """
    prefix, encode = instruction_prefix(), _encoder(tokenizer)
    begin = len(encode(prefix))
    return _counted(encode(prefix + prompt), begin, prefixed_length(begin), offset=len(prefix))


def count_negative_prompt(tokenizer: Component, negative_prompt: str) -> TokenCount:
    """Of Stage 1's negative prompt, which stands alone. Raises as `count_stage1_prompt`."""
    return _counted(_encoder(tokenizer)(negative_prompt), 1, STAGE1_PROMPT_TOKENS)


def count_refiner_prompt(tokenizer: Component, prompt: str) -> TokenCount:
    """Of the prompt as the refiner reads it. Raises as `count_stage1_prompt`."""
    lead = len(prompt) - len(prompt.lstrip())
    return _counted(_encoder(tokenizer)(prompt.strip()), 1, REFINER_PROMPT_TOKENS, offset=-lead)


@cache
def instruction_prefix() -> str:
    """What stands before the prompt in Stage 1, read from diffusers' source: importing it would load torch.

    Raises:
        WeightsError: diffusers is not installed, or says it in another place.
    """
    spec = find_spec("diffusers")
    for folder in spec.submodule_search_locations or () if spec else ():
        source = Path(folder, PREFIX_SOURCE)
        if source.is_file():
            for node in ast.parse(source.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == PREFIX_NAME and node.value:
                    return "\n".join(ast.literal_eval(node.value))
    raise WeightsError(
        "the prompt is not counted: its instruction prefix is not found", expected=f"{PREFIX_NAME} of diffusers"
    )


def _counted(offsets: list[tuple[int, int]], begin: int, length: int, offset: int = 0) -> TokenCount:
    """Of a text's tokens, of which the first `begin` are not the prompt's and `length` in all are read."""
    cut = offsets[length][0] - offset if len(offsets) > length else None
    return TokenCount(len(offsets) - begin, length - begin, cut)


def _encoder(component: Component) -> Callable[[str], list[tuple[int, int]]]:
    """The tokens of a text, each as where it begins and ends, in characters."""
    path = component.folder / "tokenizer.json"
    if not is_file(path):
        raise WeightsError(f"the prompt is not counted: {component.name} has no {path.name}", got=str(component.folder))
    status = path.stat()
    tokenizer = _load(path, status.st_mtime_ns, status.st_size)
    return lambda text: tokenizer.encode(text).offsets


@lru_cache(maxsize=2)
def _load(path: Path, *identity: int) -> Tokenizer:
    del identity  # only tells one content of the path from the next
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise WeightsError(f"the prompt is not counted: {path} cannot be used", got=error) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
