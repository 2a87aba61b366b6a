"""Full SHA-256 of the weights a run was made with: recorded the first time they are asked for, held against later.

Receipts know weights by header, size and samples, which costs seconds and misses a flipped bit between the samples; the
whole of 103 GB takes minutes, so only who asks pays.
"""

from __future__ import annotations

import json

from pydantic import ValidationError

from sana_wm.durable import sha256_of
from sana_wm.errors import HandoffError
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.pipeline import active_stages
from sana_wm.runs.chain import Link
from sana_wm.runs.receipts import Record
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.sealed import read_sealed, write_sealed
from sana_wm.weights.manifest_layout import locate_weights


class WeightHashes(Record):
    """`receipts/weights.json`: SHA-256 by component and file name."""

    sha256: dict[str, str]


def verify_weight_hashes(run: RunDirectory, manifest: RunManifest) -> list[Link]:
    """Hash every weight file that is there; one link for each. The caller owns the directory.

    Raises:
        HandoffError: What is found cannot be recorded.
    """
    file = run.path / "receipts" / "weights.json"
    try:
        known = WeightHashes.model_validate_json(read_sealed(file, next_step="Delete it.")) if file.exists() else None
    except (HandoffError, ValidationError) as error:
        return [Link("weights.json", "broken", (str(error),))]
    recorded = dict(known.sha256) if known is not None else {}
    layout = locate_weights(manifest)
    links: dict[str, Link] = {}
    for stage in active_stages(manifest):
        for component in layout.of_stage(stage):
            for shard in component.shards:
                name = f"{component.name}/{shard.name}"
                if name in links or not shard.is_file():
                    continue
                digest = sha256_of(shard)
                if name not in recorded:
                    links[name] = Link(name, "noted", (f"SHA-256 recorded now: {digest}",))
                elif digest == recorded[name]:
                    links[name] = Link(name, "holds")
                else:
                    links[name] = Link(name, "broken", (f"SHA-256 {digest}, recorded was {recorded[name]}",), (stage,))
                recorded.setdefault(name, digest)
    if known is None or recorded != known.sha256:
        write_sealed(file, json.dumps({"sha256": recorded}, indent=2))
    return list(links.values())
