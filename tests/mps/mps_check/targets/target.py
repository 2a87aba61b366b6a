"""What the MPS check runs: a network at a size, built on the fake device, and one call of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from mps_check.fake_device import DEVICE, fake_mps_device
from mps_check.recorder import Recorder
from mps_check.report import LintReport
from sana_wm.errors import UsageError

Implementation: TypeAlias = Literal["sana_wm", "diffusers", "pr379"]


@dataclass(frozen=True)
class Size:
    """How large a target is built.

    Attributes:
        num_frames: Video frames, 8k+1.
        num_layers: Layers of the transformer; `None` for all of them. A few show every finding in less time.
    """

    num_frames: int = 321
    num_layers: int | None = None
    latent_height: int = 22
    latent_width: int = 40

    def __post_init__(self) -> None:
        if self.num_frames % 8 != 1:
            raise UsageError("a video of this length cannot be made", got=self.num_frames, expected="8k+1 frames")

    @property
    def latent_num_frames(self) -> int:
        """Latent frames."""
        return (self.num_frames - 1) // 8 + 1

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of one latent frame."""
        return self.latent_height * self.latent_width


@dataclass(frozen=True)
class Trial:
    """A built target: the networks that are resident, and the call to watch."""

    networks: tuple[nn.Module, ...]
    run: Callable[[], object]


@dataclass(frozen=True)
class Target:
    """One entry of the registry.

    Attributes:
        name: The network, such as `stage1`; the same name for each implementation.
        implementation: Whose code runs the network.
        build: Builds it; called on the fake device.
        has_frames: Whether the length of the video changes what runs.
    """

    name: str
    implementation: Implementation
    build: Callable[[Size], Trial]
    has_frames: bool = False

    def label(self, size: Size) -> str:
        """The name in a report."""
        frames = f", {size.num_frames} frames" if self.has_frames else ""
        layers = f", {size.num_layers} layers" if size.num_layers else ""
        return f"{self.name} ({self.implementation}{frames}{layers})"


def lint(target: Target, size: Size | None = None, version: str | None = None) -> LintReport:
    """Build a target on the fake device and report what its call would meet on MPS.

    Args:
        target: From the registry.
        size: 321 frames and full depth when left out.
        version: The torch release to judge by; the installed one when left out.

    Raises:
        UsageError: There is no kernel table for this release.
    """
    size = size or Size()
    recorder = Recorder(version)
    with fake_mps_device(), torch.no_grad():
        trial = target.build(size)
        for network in trial.networks:
            recorder.hold(network)
        with recorder:
            trial.run()
    return recorder.report(target.label(size))


def on_device(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """An input on the fake device; it has no values."""
    return torch.empty(shape, dtype=dtype, device=DEVICE)
