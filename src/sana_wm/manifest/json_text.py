"""A manifest's file as strict JSON; what people write instead is said in their words, with line and column."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any, cast

from sana_wm.errors import ManifestError, Problem, UsageError
from sana_wm.text.characters import describe_character, hidden_characters, position
from sana_wm.text.reading import read_text

#: A manifest with its prompt has a few thousand; what is larger is another file.
MAX_BYTES = 16 * 1024**2
#: The model itself nests three deep.
MAX_DEPTH = 20

Json = dict[str, Any]

_DOUBLE_QUOTES, _SINGLE_QUOTES = "“”„‟«»″＂", "‘’‚‛′'`"
_WRITE_QUOTES = 'Write " there (on a Mac: Edit > Substitutions > Smart Quotes, off).'
_WORDS = {"True": "true", "False": "false", "None": "null", "undefined": "null", "nil": "null"}
#: What stands where JSON wants something else: its beginning, what it is, and what to write.
_IN_PLACE_OF_A_VALUE: tuple[tuple[str, str, str], ...] = (
    (r"//|/\*|#", "a comment ({0})", "JSON has no comments: delete it."),
    (rf"[{_DOUBLE_QUOTES}]", "a curly quote {0}", _WRITE_QUOTES),
    (rf"[{_SINGLE_QUOTES}]", "a single quote {0}", _WRITE_QUOTES),
    (r"True\b|False\b|None\b|undefined\b|nil\b", "the word {0}", "Write {1}."),
    (r"(?:Infinity|NaN)\b|[+-]?(?:inf|nan)\b", "the number {0}", "Write a finite number."),
    (r"[+.]\d|0\d", "a number that begins with {0}", "Write it with a digit first, without + and leading zeros."),
    (r"[：，；]", "a full-width mark {0}", "Write : or , in its place."),
    (r"[;=]", "the mark {0}", "JSON has : between name and value, and , between fields."),
    (r"[~./]", "a path without quotes", 'Write it in quotes: "…".'),
    (r"[A-Za-z_]\w*", "the word {0} without quotes", 'Write "{0}".'),
)


@dataclass(frozen=True)
class ManifestText:
    """What a manifest's file holds.

    Attributes:
        data: Its object.
        source: Its text.
        notes: What was done to read it, in words.
    """

    data: Json
    source: str
    notes: tuple[str, ...]

    def locate(self, field: str, value: str) -> str | None:
        """`line 5, column 14` of a field's text; `None` where it is spelled in a way that is not looked for."""
        name = re.escape(field.rpartition(".")[2])
        for found in re.finditer(rf'"{name}"\s*:\s*("(?:[^"\\]|\\.)*")', self.source):
            if json.loads(found[1], strict=False) == value:
                return position(self.source, found.start(1))
        return None


def read_json(path: Path) -> ManifestText:
    """Read a manifest's file.

    Raises:
        ManifestError: It cannot be read, or is no JSON object.
    """
    try:
        text = read_text(path, holds="a manifest, as JSON", limit_bytes=MAX_BYTES)
    except UsageError as error:
        raise ManifestError([Problem.of(str(path), error)]) from error
    try:
        data = _parse(text.content)
    except JSONDecodeError as error:
        got, step = _explain(text.content, error)
        raise _not_json(path, got, step) from error
    except (ValueError, RecursionError) as error:
        raise _not_json(path, str(error), None) from error
    if not isinstance(data, dict):
        got, expected = type(data).__name__, '{"version": 1, …}'
        raise ManifestError([Problem(str(path), "the manifest is not an object", got=got, expected=expected)])
    return ManifestText(cast("Json", data), text.content, text.notes)


def _parse(text: str) -> Any:
    def refuse_constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> Json:
        keys = [key for key, _ in pairs]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"key {twice[0]!r} occurs twice")
        return dict(pairs)

    data = json.loads(text, parse_constant=refuse_constant, object_pairs_hook=refuse_duplicates)
    _refuse_deep(data)
    return data


def _refuse_deep(data: Any) -> None:
    """Refuse what would exhaust the stack of whoever walks it."""
    level = [data]
    for _ in range(MAX_DEPTH):
        children = [list(item.values()) if isinstance(item, dict) else item for item in level if item]
        level = [child for items in children if isinstance(items, list) for child in cast("list[Any]", items)]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def _not_json(path: Path, got: str, next_step: str | None) -> ManifestError:
    what, expected = "the manifest is not valid JSON", "strict JSON in UTF-8"
    return ManifestError([Problem(str(path), what, got=got, expected=expected, next_step=next_step)])


Finding = tuple[str, str | None]


def _explain(text: str, error: JSONDecodeError) -> Finding:
    """What stands where the parser stopped, with its line and column, and what to write instead."""
    at = error.pos + len(text[error.pos :]) - len(text[error.pos :].lstrip(" \t\n"))
    for look in (_end, _escape, _curly_quote, _line_end, _trailing_comma, _in_place_of_a_value):
        if (found := look(text, at, error)) is not None:
            return found
    where = position(text, at)
    if next(hidden_characters(text[at]), None) is not None:
        return f"the invisible character {describe_character(text[at])} in {where}", "Delete it."
    rest = text[at : at + 20].splitlines()[0]
    match error.msg:
        case "Extra data":
            return f"something after the manifest's end, in {where}", "Delete it: a manifest is one object."
        case "Expecting ',' delimiter":
            return f"no comma before {rest!r} in {where}", "Write a comma between fields."
        case "Expecting ':' delimiter":
            return f"no colon before {rest!r} in {where}", 'Write "name": value.'
        case _:
            return f"{error.msg} in {where}", None


def _end(text: str, at: int, error: JSONDecodeError) -> Finding | None:
    if text[at:].strip() or error.msg.startswith("Unterminated"):
        return None
    return f"an end in the middle, in {position(text, at)}", "Close what is open: every { needs its }, every [ its ]."


def _escape(text: str, _: int, error: JSONDecodeError) -> Finding | None:
    if not error.msg.startswith("Invalid \\"):
        return None
    slash = text.rfind("\\", 0, error.pos + 1)
    escaped = text[slash + 1 : slash + 2]
    got = f"a backslash before {escaped!r} in {position(text, slash)}"
    if escaped in " ()[]&'!":
        return got, "Write names as they are, without the shell's backslashes: My Picture.png."
    return got, "Write / between folders; a backslash itself is written \\\\."


def _curly_quote(text: str, _: int, error: JSONDecodeError) -> Finding | None:
    """One that closes, or was meant to close, what a straight one opened: the parser then stops further on."""
    if not error.msg.startswith(("Expecting ':'", "Expecting ','", "Invalid control", "Unterminated")):
        return None
    opened = error.msg.startswith("Unterminated")  # then its place is where the text begins
    start = error.pos if opened else text.rfind("\n", 0, error.pos) + 1
    line = text[start:].split("\n", maxsplit=1)[0] if opened else text[start : error.pos + 1]
    found = re.search(rf"[{_DOUBLE_QUOTES}]\s*(?:[:,}}\]]|$)", line)
    if found is None:
        return None
    return f"a curly quote {found[0][0]} in {position(text, start + found.start())}", _WRITE_QUOTES


def _line_end(text: str, _: int, error: JSONDecodeError) -> Finding | None:
    if not error.msg.startswith(("Invalid control", "Unterminated")):
        return None
    step = 'Close the text with " on the same line; a line end in a text is written \\n.'
    return f"a line end or tab inside quotes, or no end of them, in {position(text, error.pos)}", step


def _trailing_comma(text: str, at: int, _: JSONDecodeError) -> Finding | None:
    before = text[:at].rstrip()
    if re.match(r",\s*[}\]]", text[at:]):  # Python 3.13 names the comma, earlier ones what follows it
        comma = at
    elif text[at] in "}]" and before.endswith(","):
        comma = len(before) - 1
    else:
        return None
    return f"a comma before {text[comma + 1 :].lstrip()[0]} in {position(text, comma)}", "Delete the comma."


def _in_place_of_a_value(text: str, at: int, _: JSONDecodeError) -> Finding | None:
    for shape, what, step in _IN_PLACE_OF_A_VALUE:
        if found := re.match(shape, text[at:]):
            got = f"{what.format(found[0])} in {position(text, at)}"
            return got, step.format(found[0], _WORDS.get(found[0]))
    return None
