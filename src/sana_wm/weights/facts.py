"""What is known of the released model before any of it is downloaded: repositories, files, sizes, parameter counts."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict

from sana_wm.names import LayoutName, Stage, Variant
from sana_wm.shipped import CONFIGS


class _Fact(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class FilePattern(_Fact):
    """Files of a repository that belong together.

    Attributes:
        pattern: Glob on the path inside the repository.
        stages: The stages that read them.
        approximate_bytes: Their size all together; an estimate, see `ModelFacts.sources`.
        note: What else to know of that size.
    """

    pattern: str
    stages: frozenset[Stage]
    approximate_bytes: int
    note: str | None = None


class Repository(_Fact):
    """A Hugging Face repository, the manifest field of `model` that names its folder, and its licences."""

    repo_id: str
    manifest_field: Literal["root", "gemma_root", "refiner_root"]
    licence: str
    files: tuple[FilePattern, ...]

    def needed_files(self, stages: Collection[Stage]) -> tuple[FilePattern, ...]:
        """The files that the given stages read."""
        return tuple(entry for entry in self.files if entry.stages & set(stages))


class ParameterCount(_Fact):
    """Parameters in the files, and those that the loaders read."""

    stored: int
    loaded: int


class ModelFacts(_Fact):
    """All of `configs/model_facts.json`."""

    sources: tuple[str, ...]
    parameters: dict[str, ParameterCount]
    layouts: dict[Variant, dict[LayoutName, tuple[Repository, ...]]]


@cache
def model_facts() -> ModelFacts:
    """The facts, parsed once."""
    text = (CONFIGS / "model_facts.json").read_text(encoding="utf-8")
    return ModelFacts.model_validate_json(text)


def published_bytes(variant: Variant, layout: LayoutName, stages: Collection[Stage]) -> int:
    """Size of the files that stages of a released model read, all of what would be downloaded; an estimate."""
    repositories = model_facts().layouts[variant][layout]
    return sum(file.approximate_bytes for one in repositories for file in one.needed_files(stages))
