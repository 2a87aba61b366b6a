"""A run's manifest as text that travels inside its video, and back to a manifest that makes the video again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from sana_wm.manifest.field_table import path_fields
from sana_wm.manifest.loading import escape_variables, map_strings, parse_manifest
from sana_wm.manifest.model import Manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.manifest.schema import SCHEMA_KEY, schema_uri

Json = dict[str, Any]

#: Players read a video's comment into memory. A prompt of 1 MiB fits, however it is spelled.
MAX_CHARACTERS = 4_000_000


def portable_json(manifest: RunManifest, home: Path) -> str | None:
    """The manifest as one line of JSON, `~` for the home folder: a shared video need not name its maker.

    Returns:
        ASCII text, the same for the same manifest and home; `None` if it is too long to keep.
    """
    data = manifest.model_dump(mode="json")
    fields = [*(name.split(".") for name in path_fields()), *(["inputs", name, "path"] for name in manifest.inputs)]
    fields += [["made_from", "run"]] if manifest.made_from is not None else []
    for *section, name in fields:
        holder: Any = data
        for key in section:
            holder = holder[key]
        if isinstance(text := holder[name], str) and Path(text).is_relative_to(home):
            holder[name] = str(Path("~", Path(text).relative_to(home)))
    text = json.dumps(data, separators=(",", ":"))
    return text if len(text) <= MAX_CHARACTERS else None


def parse_portable(text: str) -> RunManifest:
    """What `portable_json` wrote; paths may begin with `~`.

    Raises:
        ManifestError: Not such a manifest.
        ValueError: Not JSON.
    """
    return parse_manifest(json.loads(text), RunManifest)


def rerun_manifest(manifest: Manifest) -> Json:
    """A manifest, as its file holds it, that makes what the run made: every default written out, nothing left open."""
    return settled_manifest(manifest.model_copy(update={"made_from": None}))


def settled_manifest(manifest: Manifest) -> Json:
    """The same for the run that the manifest is of: it says what it was made from, too."""
    data = manifest.model_dump(mode="json", exclude={"inputs", "intrinsics_estimate", "picture"})
    if data["made_from"] is None:
        del data["made_from"]
    written = map_strings(data, "", lambda text, _field: escape_variables(text))
    return {SCHEMA_KEY: schema_uri(), **cast("Json", written)}
