"""The configuration of a network on disk: its config.json, or what stands in its weight file's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sana_wm.errors import WeightsError
from sana_wm.weights.headers import read_header
from sana_wm.weights.layout import Component
from sana_wm.weights.reading import REPAIR, parse_json, read_plain


def read_config(component: Component) -> dict[str, Any]:
    """The keyword arguments that the network's class is built from.

    The original Stage 1 file has no config.json: the released one is the class's defaults, hence an empty answer; a
    file of other sizes (the tiny checkpoint) says them as JSON in its safetensors metadata, entry `config`.

    Raises:
        WeightsError: The config or the weight file is missing or cannot be read.
    """
    if component.config is None:
        return _parse(read_header(component.shards[0]).metadata.get("config", "{}"), component.shards[0])
    content = _parse(read_plain(component.config, "the config"), component.config)
    return in_words_of_the_class(content, component.same_weights)


def in_words_of_the_class(config: Mapping[str, Any], same_weights: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """A config whose words for other forms of the same weights are those that the class knows."""
    return {
        key: same_weights.get(key, {}).get(value, value) if isinstance(value, str) else value
        for key, value in config.items()
    }


def _parse(text: bytes | str, source: object) -> dict[str, Any]:
    try:
        content: object = parse_json(text)
    except ValueError as error:
        raise WeightsError(f"the config in {source} is not JSON", got=error, next_step=REPAIR) from error
    if not isinstance(content, dict):
        raise WeightsError(f"the config in {source} is not a JSON object", next_step=REPAIR)
    return cast("dict[str, Any]", content)
