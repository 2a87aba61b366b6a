"""What two runs have in common and what not, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sana_wm.manifest.field_table import ManifestField, manifest_fields
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES
from sana_wm.runs.receipts import flatten

#: What a person asks first, and the fields that answer.
ASPECTS: Mapping[str, tuple[str, ...]] = {
    "model": ("model.variant", "model.backend"),
    "picture": ("input.image",),
    "prompt": ("input.prompt", "input.negative_prompt"),
    "camera path": ("camera.action", "camera.dialect", "camera.poses", "camera.poses_convention", "camera.poses_fps"),
    "lens": ("camera.intrinsics",),
    "seeds": ("stage1.seed", "refiner.seed"),
    "format": ("video.num_frames", "video.width", "video.height", "video.fps"),
}
#: Whose text stands on the page in full, and fields that are of one run by nature.
APART = ("input.prompt", "name", "output_dir", "made_from", "version")


@dataclass(frozen=True)
class Difference:
    """A manifest field in which two runs differ.

    Attributes:
        name: `stage1.seed`.
        a: Its value in A, as text.
        b: In B.
        meaning: What the field is.
        changes: The first stage that it changes, and so all after it; `None` where no frame depends on it.
    """

    name: str
    a: str
    b: str
    meaning: str
    changes: str | None

    @property
    def words(self) -> str:
        """`stage1.seed is 42 in A and 43 in B`."""
        return f"{self.name} is {self.a} in A and {self.b} in B"


def find_differences(a: RunManifest, b: RunManifest) -> tuple[Difference, ...]:
    """The manifest fields that differ, those that change the video first; input files count by their content."""
    values = [_values(manifest) for manifest in (a, b)]
    found = [
        Difference(
            name=name,
            a=_shown(values[0][name], field),
            b=_shown(values[1][name], field),
            meaning=(field.info.description or "").rstrip("."),
            changes=_first_stage(field),
        )
        for name, field in manifest_fields().items()
        if name not in APART and name in values[0] and values[0][name] != values[1].get(name)
    ]
    return tuple(sorted(found, key=lambda one: one.changes is None))


def describe_in_common(a: RunManifest, b: RunManifest) -> str:
    """What a person asks first: `The same picture and prompt; not the same camera path.`."""
    values = [_values(manifest) for manifest in (a, b)]
    same: list[str] = []
    other: list[str] = []
    for aspect, names in ASPECTS.items():
        is_same = all(values[0].get(name) == values[1].get(name) for name in names)
        (same if is_same else other).append(aspect)
    parts = [f"the same {_listed(same)}"] if same else []
    parts += [f"not the same {_listed(other)}"] if other else []
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _values(manifest: RunManifest) -> dict[str, Any]:
    """Every field flat; an input file as the SHA-256 of its content, with its path for people."""
    flat = flatten(manifest.model_dump(mode="json", exclude={"inputs", "picture", "intrinsics_estimate", "made_from"}))
    for name, file in manifest.inputs.items():
        if name in flat:
            flat[name] = _File(file.sha256, file.path)
    return flat


class _File:
    """An input file: the same wherever it lies."""

    def __init__(self, sha256: str, path: str) -> None:
        self.sha256, self.path = sha256, path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _File) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)


def _shown(value: object, field: ManifestField) -> str:
    if isinstance(value, _File):
        return f"{value.path} (SHA-256 {value.sha256[:12]}…)"
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) and field.facts.path is None else json.dumps(value, ensure_ascii=False)


def _first_stage(field: ManifestField) -> str | None:
    return next((stage for stage in STAGES if field.steers(stage)), None)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
