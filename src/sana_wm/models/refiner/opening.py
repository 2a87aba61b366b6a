"""Opens our refiner on diffusers' network, its weights resident or streamed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sana_wm.models.engine import EngineSetup, Latents, Refiner
from sana_wm.models.refiner.loading import open_refiner_engine
from sana_wm.models.refiner.refine import SingleShotEngine, refine_autoregressive, refine_single_shot
from sana_wm.models.refiner.state import RefinerState
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.runtime.device import dtype_named


@contextmanager
def open_refiner(setup: EngineSetup, resident_blocks: int) -> Generator[Refiner]:
    """The refiner with so many blocks of weights on the device; the others are read in every pass."""
    # From page-locked buffers CUDA copies four times as fast; on a Mac there is nothing to copy to.
    pinned = setup.device == "cuda"
    with open_refiner_engine(
        setup.layout.refiner_transformer,
        device=torch.device(setup.device),
        dtype=dtype_named(setup.dtype),
        resident_blocks=resident_blocks,
        pin_host_memory=pinned,
    ) as engine:
        setup.hold(engine.transformer)
        single_shot = setup.refiner.mode == "single_shot"
        yield SingleShotRefiner(engine, setup) if single_shot else AutoregressiveRefiner(engine, setup)


class SingleShotRefiner:
    """`sana_wm.models.engine.Refiner` that refines all frames at once, by any transformer that can.

    Args:
        engine: With its weights: ours, or NVIDIA's (`sana_wm.models.pr379.refiner`).
        setup: What it was opened with.
    """

    def __init__(self, engine: SingleShotEngine, setup: EngineSetup) -> None:
        self._engine, self._setup = engine, setup

    def refine(
        self,
        latents: Latents,
        prompt: tuple[Tensor, Tensor],
        on_state: Callable[[RefinerState], None],
        resume_from: RefinerState | None,
    ) -> Latents:
        """As `sana_wm.models.engine.Refiner`."""
        options = _options(self._setup, resume_from)
        return refine_single_shot(self._engine, torch.from_numpy(latents), *prompt, on_step=on_state, **options).numpy()


class AutoregressiveRefiner:
    """`sana_wm.models.engine.Refiner` that refines block by block.

    Args:
        engine: With its weights.
        setup: What it was opened with.
    """

    def __init__(self, engine: RefinerEngine, setup: EngineSetup) -> None:
        self._engine, self._setup = engine, setup

    def refine(
        self,
        latents: Latents,
        prompt: tuple[Tensor, Tensor],
        on_state: Callable[[RefinerState], None],
        resume_from: RefinerState | None,
    ) -> Latents:
        """As `sana_wm.models.engine.Refiner`."""
        settings = self._setup.refiner
        return refine_autoregressive(
            self._engine,
            torch.from_numpy(latents),
            *prompt,
            block_size=settings.block_size,
            kv_max_frames=settings.kv_max_frames,
            on_block=on_state,
            **_options(self._setup, resume_from),
        ).numpy()


def _options(setup: EngineSetup, resume_from: RefinerState | None) -> dict[str, Any]:
    """What both modes are given besides latents and prompt."""
    return {
        "fps": setup.fps,
        "sink_size": setup.refiner.sink_size,
        "generator": torch.Generator("cpu").manual_seed(setup.refiner.seed),
        "resume_from": resume_from,
    }
