"""The weights a manifest means: where they lie, and which they are."""

from __future__ import annotations

from sana_wm.handoff.receipts import WeightFile
from sana_wm.manifest.model import Manifest
from sana_wm.names import Stage
from sana_wm.weights.headers import identity_digest
from sana_wm.weights.layout import WeightLayout
from sana_wm.weights.places import places_of
from sana_wm.weights.reading import is_file, naming_refusals


def locate_weights(manifest: Manifest) -> WeightLayout:
    """Where the manifest's weights lie; nothing is opened."""
    return places_of(manifest).layout()


@naming_refusals()
def identify_weights(layout: WeightLayout, stage: Stage) -> tuple[WeightFile, ...]:
    """The weight files a stage reads, as far as they are there: names, sizes and a digest of header and samples.

    Cheap enough to take before every run: a few megabytes of 103 GB are read.

    Raises:
        WeightsError: A file is there and is no whole safetensors file.
    """
    return tuple(
        WeightFile(
            component=component.name,
            file=shard.name,
            size_bytes=shard.stat().st_size,
            identity_sha256=identity_digest(shard),
        )
        for component in layout.of_stage(stage)
        for shard in component.shards
        if is_file(shard)
    )
