"""What the Tab key offers for the values of options. Imports next to nothing: a shell asks at every key press."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import get_args

Offer = list[tuple[str, str]]


def presets(incomplete: str) -> Offer:
    """Presets, with the question that each answers."""
    from sana_wm.drafting.presets import PRESETS

    return _fitting({name: preset.question for name, preset in PRESETS.items()}, incomplete)


def stages(incomplete: str) -> Offer:
    """Stages, in their order."""
    from sana_wm.names import STAGES

    return _fitting(dict.fromkeys(STAGES, ""), incomplete)


def stage_list(incomplete: str) -> Offer:
    """Stages with commas between them; the last one is completed, none is offered twice."""
    begun, comma, last = incomplete.rpartition(",")
    left = [offer for offer in stages(last) if offer[0] not in begun.split(",")]
    return [(f"{begun}{comma}{name}", words) for name, words in left]


def dialects(incomplete: str) -> Offer:
    """Dialects of actions."""
    from sana_wm.names import DialectName

    return _fitting(dict.fromkeys(get_args(DialectName), ""), incomplete)


def crops(incomplete: str) -> Offer:
    """Words for the part of a picture that is shown."""
    from sana_wm.names import CROP_WORDS

    return _fitting(dict.fromkeys(CROP_WORDS, ""), incomplete)


def sizes(incomplete: str) -> Offer:
    """Sizes by name, with their pixels."""
    from sana_wm.sizes import NAMED_SIZES

    return _fitting({name: f"{width}x{height}" for name, (width, height) in NAMED_SIZES.items()}, incomplete)


def templates(incomplete: str) -> Offer:
    """Ready-made manifests."""
    from sana_wm.shipped import TEMPLATES

    files = sorted(TEMPLATES.glob("*.json"))
    lengths = {file.stem: json.loads(file.read_text(encoding="utf-8"))["video"]["num_frames"] for file in files}
    return _fitting({name: f"{num_frames} frames" for name, num_frames in lengths.items()}, incomplete)


def moves(incomplete: str) -> Offer:
    """Named moves with commas between them; the last one is completed."""
    from sana_wm.camera.moves import MOVES

    begun, comma, last = incomplete.rpartition(",")
    offer = _fitting({name: kind.does for name, kind in MOVES.items()}, last)
    return [(f"{begun}{comma}{name}", words) for name, words in offer]


def _fitting(words: Mapping[str, str], incomplete: str) -> Offer:
    return [(word, meaning) for word, meaning in words.items() if word.startswith(incomplete)]
