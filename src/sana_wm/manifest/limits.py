"""The manifest's limits: memory, power, and what counts as broken."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sana_wm.manifest.fields import neutral
from sana_wm.manifest.section import Positive, Section
from sana_wm.sizes import GIB

#: The most that `auto` takes: what the networks can use, and a machine of 128 GiB can spare.
LARGEST_AUTO_CAP_GIB = 96.0


class MemorySection(Section, frozen=True):
    """The memory contract."""

    cap_gib: Annotated[Positive | Literal["auto"], neutral(work=True)] = Field(
        default="auto",
        description="No stage may use more than this; auto: 96, or what the machine can give if that is less.",
    )
    budget_gib: Annotated[Positive | None, neutral(work=True)] = Field(
        default=None, description="What engines plan with; null takes what the cap and the device allow."
    )


class RunMemorySection(MemorySection, frozen=True):
    """The memory contract of a run: its cap is known."""

    cap_gib: Annotated[Positive, neutral(work=True)] = Field(
        default=LARGEST_AUTO_CAP_GIB, description="No stage may use more than this."
    )

    @property
    def cap_bytes(self) -> int:
        """The cap in bytes."""
        return int(self.cap_gib * GIB)


class PowerSection(Section, frozen=True):
    """When a run pauses at its next checkpoint, and goes on by itself."""

    pause_below_battery_percent: Annotated[int | None, neutral()] = Field(
        default=None, ge=1, le=90, description="Pause while on battery below this charge; null never pauses."
    )
    pause_when_hot: Annotated[bool, neutral()] = Field(
        default=False, description="Pause at a critical thermal state (macOS)."
    )


class SanitySection(Section, frozen=True):
    """What counts as broken, and what gets a warning; docs/mps.md says how the limits were set."""

    latent_std_min: Annotated[float, neutral()] = Field(
        default=0.02, ge=0, description="Least standard deviation of a latent frame."
    )
    latent_std_max: Annotated[Positive, neutral()] = Field(
        default=20.0, description="Greatest standard deviation of a latent frame."
    )
    broken_frames: Annotated[Literal["refuse", "warn"], neutral()] = Field(
        default="refuse", description="What happens to a decode whose frames only wrong arithmetic can have made."
    )
    black_mean: Annotated[float, neutral()] = Field(
        default=4.0, ge=0, description="A warning calls a constant frame below this mean luma (0-255) black."
    )
    constant_std: Annotated[float, neutral()] = Field(
        default=1.0, ge=0, description="A warning calls a frame below this deviation of luma constant."
    )
    saturated_share: Annotated[float, neutral()] = Field(
        default=0.95, ge=0, le=1, description="A warning calls a frame with more values at 0 or 255 saturated."
    )
    laplacian_share: Annotated[float, neutral()] = Field(
        default=0.01, ge=0, le=1, description="A warning below this share of the median frame's Laplacian energy."
    )
