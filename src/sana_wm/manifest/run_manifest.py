"""A manifest as a run directory keeps it: settled, with what its inputs were."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from sana_wm.manifest.fields import facts
from sana_wm.manifest.limits import RunMemorySection
from sana_wm.manifest.model import ESTIMATE, TEXT, CameraSection, InputSection, Manifest, PixelIntrinsics
from sana_wm.manifest.paths import PathText
from sana_wm.manifest.section import Section


class InputFile(Section, frozen=True):
    """An input as it was when the run began."""

    path: PathText
    sha256: str


class IntrinsicsEstimate(Section, frozen=True):
    """Intrinsics that nobody gave."""

    intrinsics: PixelIntrinsics
    field_of_view_deg: float = Field(description="Horizontal, of the video's part of the picture.")
    source: str
    uncertainty_share: float = Field(description="How far the focal length may be off, as a share of it.")
    basis: str = Field(description="Where that share comes from.")


class PictureRecord(Section, frozen=True):
    """What becomes of the input picture on its way to the model."""

    kind: str = Field(description="Of its file, by its content.")
    size: tuple[int, int] = Field(description="Width, height, upright.")
    converted_from: str | None = Field(description="Colour space before it was made sRGB; null where it was.")
    notes: tuple[str, ...] = Field(description="What was done to it, in words.")


class RunInputSection(InputSection, frozen=True):
    """What the video starts from, with the prompt's text in place."""

    prompt: Annotated[str, facts(TEXT, "refiner/text")] = Field(
        default=..., description="The prompt's text, wherever it was read."
    )
    prompt_file: Annotated[None, facts(TEXT, path="input")] = None


class RunCameraSection(CameraSection, frozen=True):
    """The camera path, with intrinsics that are known."""

    @field_validator("intrinsics")
    @classmethod
    def _are_known(cls, intrinsics: str | PixelIntrinsics | None) -> str | PixelIntrinsics | None:
        if intrinsics == ESTIMATE:
            raise ValueError("the intrinsics of a run are numbers, or a file")
        return intrinsics


class RunManifest(Manifest, frozen=True):
    """What a run directory's `manifest.json` holds.

    The manifest with every default, absolute paths, the prompt's text and the memory cap as a number, the hashes of its
    input files, what was done to the picture (not known of runs before that was written), and where `camera.intrinsics`
    came from if they were estimated.
    """

    input: RunInputSection
    camera: RunCameraSection
    memory: RunMemorySection = RunMemorySection()
    inputs: dict[str, InputFile]
    picture: PictureRecord | None = None
    intrinsics_estimate: IntrinsicsEstimate | None = None
