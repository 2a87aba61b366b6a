"""The manifest's JSON Schema: generated from the models, shipped beside them."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from sana_wm.manifest.model import Manifest

SCHEMA_NAME = "manifest.schema.json"
#: The key by which a manifest tells an editor its schema.
SCHEMA_KEY = "$schema"


def render_schema() -> str:
    """The JSON Schema (2020-12) of manifest version 1, as text."""
    schema = Manifest.model_json_schema()
    schema["properties"][SCHEMA_KEY] = {"type": "string", "description": "This schema, for editors; not read."}
    return json.dumps({SCHEMA_KEY: "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def schema_uri() -> str:
    """Where the shipped schema lies, as an editor takes it; a test holds it against `render_schema`."""
    return Path(str(files("sana_wm.manifest") / SCHEMA_NAME)).as_uri()


def write_schema() -> None:
    """Write the schema beside the models: `make schema`, after they changed."""
    Path(str(files("sana_wm.manifest") / SCHEMA_NAME)).write_text(render_schema(), encoding="utf-8")
