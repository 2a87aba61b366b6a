"""The configuration of a network on disk: its config.json, or what stands in its weight file's metadata."""

from __future__ import annotations

import json
from typing import Any, cast

from sana_wm.errors import WeightsError
from sana_wm.weights.headers import read_header
from sana_wm.weights.layout import REPAIR, Component


def read_config(component: Component) -> dict[str, Any]:
    """The keyword arguments that the network's class is built from.

    The original Stage 1 file has no config.json: the released one is the class's defaults, hence an empty answer; a
    file of other sizes (the tiny checkpoint) says them as JSON in its safetensors metadata, entry `config`.

    Raises:
        WeightsError: The config or the weight file is missing or cannot be read.
    """
    if component.config is None:
        return _parse(read_header(component.shards[0]).metadata.get("config", "{}"), component.shards[0])
    try:
        text = component.config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"the config {component.config} cannot be read", got=error, next_step=REPAIR) from error
    return _parse(text, component.config)


def _parse(text: str, source: object) -> dict[str, Any]:
    try:
        content: object = json.loads(text)
    except ValueError as error:
        raise WeightsError(f"the config in {source} is not JSON", got=error, next_step=REPAIR) from error
    if not isinstance(content, dict):
        raise WeightsError(f"the config in {source} is not a JSON object", next_step=REPAIR)
    return cast("dict[str, Any]", content)
