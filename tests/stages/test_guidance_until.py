"""Guidance that ends before the last step: the bits before the cut, the passes behind it, and stops on either side.

Stage 1 runs whole, in this process, on the tiny checkpoint; what it asks of its network is noted on the way.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import draw_picture, tiny_manifest

from sana_wm.errors import InterruptedRunError
from sana_wm.models.engine import EngineSetup
from sana_wm.models.stage1.engine import Stage1Engine
from sana_wm.models.stage1.opening import open_stage1
from sana_wm.models.stage1.sampler import build_schedule, euler_step
from sana_wm.preflight.prospect import inspect
from sana_wm.runs.events import Event, StepDone, read_events
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runtime.events import EventWriter
from sana_wm.runtime.stopping import StopFlag
from sana_wm.stages.__main__ import run_stage
from sana_wm.stages.sampling import engine_inputs
from sana_wm.weights.manifest_layout import locate_weights

STEPS = 8
EditManifest = Callable[..., None]


@dataclass
class Noted:
    """What a start of Stage 1 did: a hash of the latents before each step, its passes; the latents in the end."""

    before: list[str] = field(default_factory=list[str])
    passes: list[int] = field(default_factory=list[int])
    latents: torch.Tensor | None = None


class StoppingEvents(EventWriter):
    """Asks for a stop as soon as so many steps are done."""

    def __init__(self, path: Path, stop: StopFlag, after: int | None) -> None:
        super().__init__(path)
        self._stop, self._after = stop, after

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, StepDone) and event.step == self._after:
            self._stop.reason = "the test"


Stage1 = Callable[..., Noted]


@pytest.fixture(scope="module")
def stage1() -> Iterator[Stage1]:
    """Run Stage 1 of a run directory; `stop_after` so many steps it is asked to stop."""
    velocity, predict = Stage1Engine.velocity, Stage1Engine.predict
    noted = Noted()

    def noting_velocity(self: Stage1Engine, latents: torch.Tensor, *others: Any) -> torch.Tensor:
        noted.before.append(hashlib.sha256(latents.numpy().tobytes()).hexdigest())
        noted.passes.append(0)
        return velocity(self, latents, *others)

    def noting_predict(self: Stage1Engine, latents: Any, timesteps: Any, conditioning: Any, prompts: Any) -> Any:
        noted.passes[-1] += len(prompts)
        return predict(self, latents, timesteps, conditioning, prompts)

    def run(directory: RunDirectory, stop_after: int | None = None) -> Noted:
        nonlocal noted
        noted, stop = Noted(), StopFlag()
        events = StoppingEvents(directory.events_file("stage1"), stop, stop_after)
        if stop_after is None:
            run_stage("stage1", directory, events, stop)
            noted.latents = load_file(directory.stage1_file)["latents"]
        else:
            with pytest.raises(InterruptedRunError):
                run_stage("stage1", directory, events, stop)
        return noted

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stage1Engine, "velocity", noting_velocity)
        patch.setattr(Stage1Engine, "predict", noting_predict)
        yield run
    torch.use_deterministic_algorithms(mode=False)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, dict[str, Any]], stage1: Stage1
) -> tuple[RunDirectory, Noted]:
    """A run whose manifest says nothing of `guidance_until`, with its Stage 1."""
    folder = tmp_path_factory.mktemp("guidance")
    data = tiny_manifest(draw_picture(folder / "picture.png"), tiny_models["diffusers"])
    data["camera"]["action"], data["video"]["num_frames"] = "w-16", 17
    data["stage1"] = {"num_inference_steps": STEPS, "checkpoint_every": 100}
    data["input"]["negative_prompt"] = "blur"
    path = folder / "manifest.json"
    path.write_text(json.dumps(data))
    run, manifest, _ = inspect(path, {}).require()
    run.path.mkdir()
    run.write_manifest(manifest)
    return run, stage1(run)


@pytest.fixture
def another(
    whole: tuple[RunDirectory, Noted], tmp_path: Path, edit_run_manifest: EditManifest
) -> Callable[..., RunDirectory]:
    """The same run under other settings of Stage 1, which has not run; its conditioning is there."""

    def make(name: str, **settings: float) -> RunDirectory:
        run = RunDirectory(Path(shutil.copytree(whole[0].path, tmp_path / name)))
        run.receipt_file("stage1").unlink()
        run.stage1_file.unlink()
        run.beginning_file("stage1").unlink(missing_ok=True)
        edit_run_manifest(run.path, **{f"stage1__{field}": value for field, value in settings.items()})
        return run

    return make


def equal(one: Noted, other: Noted) -> bool:
    return one.latents is not None and other.latents is not None and torch.equal(one.latents, other.latents)


def test_1_has_the_bits_of_a_loop_that_knows_no_end_of_guidance(whole: tuple[RunDirectory, Noted]) -> None:
    run, noted = whole
    manifest = run.read_manifest()
    engine = open_stage1(
        EngineSetup(
            layout=locate_weights(manifest),
            device="cpu",
            dtype="float32",
            budget_bytes=None,
            model=manifest.model,
            stage1=manifest.stage1,
            refiner=manifest.refiner,
            fps=16,
        )
    )
    conditioning = load_file(run.conditioning_file)
    embeds, mask = conditioning["prompt_embeds"], conditioning["prompt_attention_mask"]
    engine.prepare(engine_inputs(embeds, mask, conditioning))
    generator = torch.Generator("cpu").manual_seed(manifest.stage1.seed)
    assert noted.latents is not None
    latents = torch.randn(noted.latents.shape, generator=generator)
    latents[:, :, :1] = conditioning["first_latent"]
    schedule = build_schedule(STEPS, manifest.stage1.flow_shift)
    for step, timestep in enumerate(schedule.timesteps):
        velocity = torch.from_numpy(engine.velocity(latents.numpy(), timestep, 5.0))
        latents = euler_step(latents, velocity, schedule, step)
    assert torch.equal(latents, noted.latents)
    assert noted.passes[:STEPS] == [2] * STEPS


def test_half_is_equal_until_the_cut_and_costs_three_quarters_of_the_passes(
    whole: tuple[RunDirectory, Noted], another: Callable[..., RunDirectory], stage1: Stage1
) -> None:
    run = another("half", guidance_until=0.5)
    half, full = stage1(run), whole[1]
    assert half.before[:5] == full.before[:5]
    assert not set(half.before[5:]) & set(full.before)
    assert half.passes == [2] * 4 + [1] * 4
    assert sum(half.passes) == 0.75 * 2 * STEPS
    receipt = read_receipt(run, "stage1")
    assert receipt is not None
    assert (receipt.settings["stage1.guidance_until"], receipt.plan["guided_steps"]) == (0.5, 4)
    assert receipt.plan["passes"] == sum(half.passes)
    assert receipt.plan["plan_with_guidance"]["working_set_bytes"] > receipt.plan["working_set_bytes"]
    shares = [event.share for event in read_events(run.events_file("stage1")) if isinstance(event, StepDone)]
    assert shares == [sum(half.passes[: step + 1]) / 12 for step in range(STEPS)]


def test_0_has_the_bits_of_a_run_without_guidance(another: Callable[..., RunDirectory], stage1: Stage1) -> None:
    never = stage1(another("never", guidance_until=0.0))
    assert equal(never, stage1(another("off", guidance_scale=1.0)))
    assert never.passes == [1] * STEPS


def test_a_stop_on_either_side_of_the_cut_goes_on_to_the_same_bits(
    another: Callable[..., RunDirectory], stage1: Stage1
) -> None:
    undisturbed = stage1(another("undisturbed", guidance_until=0.5))
    for stop_after in (2, 4, 6):
        run = another(f"stopped-{stop_after}", guidance_until=0.5)
        first, second = stage1(run, stop_after), stage1(run)
        assert first.passes + second.passes == undisturbed.passes
        assert len(second.passes) == STEPS - stop_after
        assert equal(second, undisturbed)
