"""From a JSON file to a `Manifest`: strict JSON, `${VAR}` and `~` expanded, paths made absolute."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sana_wm.errors import ManifestError, Problem
from sana_wm.manifest.field_table import path_fields
from sana_wm.manifest.model import ESTIMATE, Manifest
from sana_wm.manifest.rules import find_contradictions
from sana_wm.manifest.schema import SCHEMA_KEY
from sana_wm.variants import fill_taught

#: A manifest with its prompt has a few thousand; what is larger is another file.
MAX_BYTES = 16 * 1024**2
#: The model itself nests three deep.
MAX_DEPTH = 20

#: `${NAME}`, and `$${NAME}`, which stays as text.
VARIABLE = re.compile(r"\$?\$\{([^}]*)\}")

Json = dict[str, Any]
M = TypeVar("M", bound=Manifest)


@dataclass(frozen=True)
class Reading:
    """What a manifest file says.

    Attributes:
        manifest: The manifest with every path absolute; fields that are wrong have their defaults here, so that the
            rest of it can be looked at. `None` when so much is wrong that there is nothing to look at.
        problems: Everything that is wrong with it.
    """

    manifest: Manifest | None
    problems: tuple[Problem, ...]


def load_manifest(path: Path, environ: Mapping[str, str]) -> Manifest:
    """Read and parse a manifest file; arguments as of `read_manifest`.

    Raises:
        ManifestError: With all problems of the file at once.
    """
    reading = read_manifest(path, environ)
    if reading.problems or reading.manifest is None:
        raise ManifestError(list(reading.problems))
    return reading.manifest


def read_manifest(path: Path, environ: Mapping[str, str]) -> Reading:
    """Read a manifest file as far as it can be read.

    Args:
        path: JSON file; relative paths in it are relative to its folder.
        environ: Variables for `${VAR}`; `$${VAR}` stays as the text `${VAR}`.

    Raises:
        ManifestError: It cannot be read, or is no JSON object.
    """
    raw = _read_json(path)
    raw.pop(SCHEMA_KEY, None)  # for editors
    problems: list[Problem] = []
    expanded = map_strings(raw, "", lambda text, field: _expand_variables(text, field, environ, problems))
    problems += _absolutize(expanded, path.resolve().parent)
    manifest, wrong = _parse(expanded, Manifest)
    return Reading(manifest, (*problems, *wrong))


def parse_manifest(data: Json, kind: type[M]) -> M:
    """Validate parsed JSON against the model `kind`, and its fields against each other.

    Raises:
        ManifestError: With one problem per field.
    """
    manifest, problems = _parse(data, kind)
    if problems or manifest is None:
        raise ManifestError(problems)
    return manifest


def _parse(data: Json, kind: type[M]) -> tuple[M | None, list[Problem]]:
    """The manifest, and what is wrong with it; without the wrong fields where it can do without them."""
    problems: list[Problem] = []
    data = fill_taught(data)
    try:
        # Through JSON mode: there, and only there, strict pydantic takes a JSON array for a tuple.
        manifest = kind.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        problems = [_problem(details) for details in error.errors()]
        try:
            manifest = kind.model_validate_json(json.dumps(_without(data, error.errors())), strict=True)
        except ValidationError:
            return None, problems
    return manifest, [*problems, *find_contradictions(manifest)]


def _without(data: Json, errors: Sequence[ErrorDetails]) -> Json:
    """The data without the entries that are wrong."""
    rest = copy.deepcopy(data)
    for details in errors:
        holder: Any = rest
        for name in details["loc"]:
            if isinstance(holder, dict) and not isinstance(cast("Json", holder).get(str(name)), dict):
                cast("Json", holder).pop(str(name), None)
                break
            holder = cast("Json", holder).get(str(name)) if isinstance(holder, dict) else None
    return rest


def _read_json(path: Path) -> Json:
    def refuse_constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> Json:
        keys = [key for key, _ in pairs]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"key {twice[0]!r} occurs twice")
        return dict(pairs)

    try:
        data = json.loads(_read_text(path), parse_constant=refuse_constant, object_pairs_hook=refuse_duplicates)
        _refuse_deep(data)
    except OSError as error:
        raise ManifestError(
            [Problem(str(path), "the manifest cannot be read", got=error.strerror, next_step="Check the path.")]
        ) from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(
            [Problem(str(path), "the manifest is not valid JSON", got=str(error), expected="strict JSON in UTF-8")]
        ) from error
    if not isinstance(data, dict):
        raise ManifestError(
            [Problem(str(path), "the manifest is not an object", got=type(data).__name__, expected='{"version": 1, …}')]
        )
    return cast("Json", data)


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    return content.decode()


def _refuse_deep(data: Any) -> None:
    """Refuse what would exhaust the stack of whoever walks it."""
    level = [data]
    for _ in range(MAX_DEPTH):
        children = [list(item.values()) if isinstance(item, dict) else item for item in level if item]
        level = [child for items in children if isinstance(items, list) for child in cast("list[Any]", items)]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def escape_variables(text: str) -> str:
    """The spelling that `load_manifest` reads as `text`, whatever `${…}` it holds."""
    return VARIABLE.sub(r"$\g<0>", text)


def map_strings(value: Any, field: str, change: Callable[[str, str], str]) -> Any:
    """Parsed JSON with every string changed; `change` is given the string and its field, as `input.prompt`."""
    if isinstance(value, str):
        return change(value, field)
    if isinstance(value, dict):
        items = cast("Json", value).items()
        return {key: map_strings(item, f"{field}.{key}" if field else key, change) for key, item in items}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [map_strings(item, f"{field}.{index}", change) for index, item in enumerate(items)]
    return value


def _expand_variables(text: str, field: str, environ: Mapping[str, str], problems: list[Problem]) -> str:
    def replace(match: re.Match[str]) -> str:
        if match.group(0).startswith("$$"):
            return match.group(0)[1:]
        name = match.group(1)
        if name not in environ:
            problems.append(
                Problem(
                    field,
                    f"environment variable {name} is not set",
                    got=repr(text),
                    expected=f"{name} to be set",
                    next_step=f"export {name}=…, or write the value into the manifest ($${{…}} keeps it as text).",
                )
            )
            return match.group(0)
        return environ[name]

    return VARIABLE.sub(replace, text)


def _absolutize(data: Json, base: Path) -> list[Problem]:
    problems: list[Problem] = []
    for field in path_fields():
        *section, name = field.split(".")
        holder: Any = data
        for key in section:
            holder = cast("Json", holder).get(key) if isinstance(holder, dict) else None
        if not isinstance(holder, dict):
            continue
        text = cast("Json", holder).get(name)
        if not isinstance(text, str) or not text or (name, text) == ("intrinsics", ESTIMATE):
            continue
        try:
            holder[name] = str((base / Path(text).expanduser()).absolute())
        except RuntimeError as error:  # "~nobody": no such home
            problems.append(Problem(field, str(error), got=repr(text)))
    return problems


def _problem(details: ErrorDetails) -> Problem:
    # pydantic names the branch of a union (`camera.intrinsics.str`): the field is what the user wrote.
    parts = [
        str(part) for part in details["loc"] if not str(part).startswith(("str", "tuple[", "constrained-", "literal["))
    ]
    field = ".".join(parts) or "manifest"
    kind = details["type"]
    if kind == "extra_forbidden":
        meant = get_close_matches(parts[-1], _keys_of(parts[:-1]), 1)
        hint = f"Did you mean {meant[0]}? " if meant else ""
        return Problem(field, "unknown key", got=_shorten(details["input"]), next_step=f"{hint}See docs/manifest.md.")
    if kind == "missing":
        return Problem(field, "is missing", expected="a value", next_step="See docs/manifest.md.")
    message = details["msg"].removeprefix("Value error, ")
    value = details["input"]
    return Problem(
        field, message, got=f"{type(value).__name__} {_shorten(value)}" if not parts or kind != "value_error" else None
    )


def _keys_of(section: list[str]) -> list[str]:
    """The keys that a section of the manifest may have."""
    fields = Manifest.model_fields
    for name in section:
        kind = fields[name].annotation if name in fields else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        fields = kind.model_fields
    return list(fields)


def _shorten(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
