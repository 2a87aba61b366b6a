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
from sana_wm.manifest.json_text import Json, read_json
from sana_wm.manifest.model import ESTIMATE, Manifest
from sana_wm.manifest.rules import find_contradictions
from sana_wm.manifest.schema import SCHEMA_KEY
from sana_wm.manifest.written_paths import find_odd_paths
from sana_wm.variants import fill_taught

#: `${NAME}`, and `$${NAME}`, which stays as text.
VARIABLE = re.compile(r"\$?\$\{([^}]*)\}")

#: Variables that any manifest may name, besides those that begin with the prefix. A stranger's manifest shall not be
#: able to put a token of this user's into a path, a video or a message.
OPEN_VARIABLES = ("HOME",)
OPEN_PREFIX = "SANA_"
#: Names the further ones that this user allows, with commas between them.
ALLOWING_VARIABLE = "SANA_WM_MANIFEST_VARIABLES"

M = TypeVar("M", bound=Manifest)


@dataclass(frozen=True)
class Reading:
    """What a manifest file says.

    Attributes:
        manifest: The manifest with every path absolute; fields that are wrong have their defaults here, so that the
            rest of it can be looked at. `None` when so much is wrong that there is nothing to look at.
        problems: Everything that is wrong with it.
        notes: What was done to read the file, in words.
    """

    manifest: Manifest | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()


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
        environ: Variables for `${VAR}`, of which some are open to manifests; `$${VAR}` stays as the text `${VAR}`.

    Raises:
        ManifestError: It cannot be read, or is no JSON object.
    """
    text = read_json(path)
    raw = text.data
    raw.pop(SCHEMA_KEY, None)  # for editors
    problems = find_odd_paths(text, path.resolve().parent)
    expanded = map_strings(raw, "", lambda text, field: _expand_variables(text, field, environ, problems))
    problems += _absolutize(expanded, path.resolve().parent)
    manifest, wrong = _parse(expanded, Manifest)
    return Reading(manifest, (*problems, *wrong), text.notes)


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
    # A section without its wrong fields contradicts itself easily.
    wrong = {problem.field.split(".")[0] for problem in problems}
    contradictions = (one for one in find_contradictions(manifest) if one.field.split(".")[0] not in wrong)
    return manifest, [*problems, *contradictions]


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
        if not _is_open(name, environ):
            what, got = f"{name} is no variable that a manifest may name", repr(text)
            expected = f"{OPEN_PREFIX}…, {', '.join(OPEN_VARIABLES)}, or a name in {ALLOWING_VARIABLE}"
            advice = f"If you trust this manifest: export {ALLOWING_VARIABLE}={name}. $${{…}} stays as text."
        elif name not in environ:
            what, got, expected = f"environment variable {name} is not set", repr(text), f"{name} to be set"
            advice = f"export {name}=…, or write the value into the manifest ($${{…}} keeps it as text)."
        else:
            return environ[name]
        problems.append(Problem(field, what, got, expected, advice))
        return match.group(0)

    return VARIABLE.sub(replace, text)


def _is_open(name: str, environ: Mapping[str, str]) -> bool:
    """Whether a manifest may name an environment variable."""
    allowed = [one.strip() for one in environ.get(ALLOWING_VARIABLE, "").split(",")]
    return name.startswith(OPEN_PREFIX) or name in (*OPEN_VARIABLES, *filter(None, allowed))


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
        except ValueError:  # the model says why
            holder[name] = text
        except RuntimeError as error:  # "~nobody": no such home
            problems.append(Problem(field, str(error), got=repr(text)))
    return problems


def _problem(details: ErrorDetails) -> Problem:
    # pydantic names the branch of a union (`camera.intrinsics.str`): the field is what the user wrote.
    parts = [
        str(part)
        for part in details["loc"]
        if not str(part).startswith(("str", "tuple[", "constrained-", "literal[", "function-"))
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
