"""What a stage keeps of its way, in parts: each says itself under which settings and weights it is valid, in any run.

The metadata of the file says so (`sana_wm.runtime.latents`); here it is read without torch, to say beforehand what will
be used again. Whether the chip and the libraries are those that made it, only the stage knows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from sana_wm.errors import WeightsError
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.pipeline import PIPELINE, Part
from sana_wm.runs.receipts import settings_digest, stage_settings
from sana_wm.weights.headers import read_header
from sana_wm.weights.manifest_layout import WeightFile

#: The entry of a file's metadata that holds ours, as JSON.
METADATA_KEY = "sana_wm"


def part_metadata(manifest: RunManifest, target: str) -> dict[str, str]:
    """The entry by which a part is known again.

    Args:
        manifest: Of the run.
        target: What its fields steer: `stage1/conditioning/text`.
    """
    return {f"settings_sha256 of {target}": settings_digest(stage_settings(manifest, target))}


def weights_digest(weights: Sequence[WeightFile]) -> str:
    """SHA-256 of what is known of a stage's weight files."""
    return digest_of([file.model_dump() for file in weights])


def digest_of(value: object) -> str:
    """SHA-256 of JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def valid_parts(file: Path, manifest: RunManifest, stage: Stage, weights: Sequence[WeightFile]) -> tuple[Part, ...]:
    """The parts of what a stage kept that are valid for a manifest.

    Args:
        file: What was kept, of any run; it may be missing or damaged.
        manifest: What shall run.
        stage: That kept it.
        weights: The weight files of all stages as they are now.
    """
    said = _read_metadata(file)
    components = PIPELINE[stage].components
    own = dict.fromkeys(one for one in weights if one.component in components)  # two stages may read the same file
    if said.get("weights_sha256") != weights_digest(tuple(own)):
        return ()
    parts = PIPELINE[stage].parts.items()
    return tuple(part for target, part in parts if part_metadata(manifest, target).items() <= said.items())


def _read_metadata(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(read_header(file).metadata[METADATA_KEY])
    except (WeightsError, OSError, KeyError, ValueError):
        return {}
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}
