"""Every field of a manifest with its facts, flat: what receipts, plans and paths are read off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sana_wm.manifest.fields import FieldFacts, PathKind
from sana_wm.manifest.model import Manifest


@dataclass(frozen=True)
class ManifestField:
    """A field that is no section.

    Attributes:
        name: `stage1.seed`.
        info: Its declaration.
    """

    name: str
    info: FieldInfo

    @property
    def facts(self) -> FieldFacts:
        """What stands at the field."""
        return next(fact for fact in self.info.metadata if isinstance(fact, FieldFacts))

    def steers(self, target: str) -> bool:
        """Whether it changes a stage's result, or that of a part of it (`stage1/conditioning`)."""
        return any(one == target or one.startswith(f"{target}/") for one in self.facts.steers)


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[ManifestField]:
    """The fields of a model and of its sections."""
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields_of(kind, f"{prefix}{name}.")
        else:
            yield ManifestField(f"{prefix}{name}", info)


@cache
def manifest_fields() -> dict[str, ManifestField]:
    """Every field of a manifest, by name."""
    return {field.name: field for field in fields_of(Manifest)}


@cache
def field_defaults() -> dict[str, Any]:
    """Every manifest field that has a default, flat."""
    return {name: field.info.default for name, field in manifest_fields().items() if not field.info.is_required()}


def path_fields(kind: PathKind | None = None) -> list[str]:
    """The fields that name a file or folder, of one kind or of any."""
    paths = {name: field.facts.path for name, field in manifest_fields().items()}
    return [name for name, path in paths.items() if path is not None and kind in (None, path)]
