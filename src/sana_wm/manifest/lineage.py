"""What a run was made from: said in its manifest, so that drafts, variations and branches can be shown as a tree."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sana_wm.manifest.paths import PathText
from sana_wm.manifest.section import Section

#: The commands that make a run from another.
Verb = Literal["vary", "promote", "branch", "extend"]


class MadeFrom(Section, frozen=True):
    """The run that another was made from. It vouches for nothing, and changes no result."""

    verb: Verb = Field(description="The command that made it.")
    run: PathText = Field(description="The run directory, where it lay then.")
    manifest_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] = Field(
        description="SHA-256 of that run's manifest.json, as its video names it too: known again wherever it lies."
    )
    frame: int | None = Field(default=None, ge=0, description="Of its video, from 0; null where none was taken.")
    changed: tuple[str, ...] = Field(default=(), description="The manifest fields that are others than its.")
