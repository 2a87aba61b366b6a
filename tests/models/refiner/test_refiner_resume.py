"""Stopping after any block and going on ends in the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


class StoppedHereError(Exception):
    """Raised by a callback to stop the refinement."""


def refine(mode: str, case: Any, on_state: Any = None, resume_from: Any = None, seed: int = 42) -> Any:
    import torch

    from sana_wm.models.refiner import refine as modes
    from sana_wm.models.refiner.transformer import RefinerEngine

    options: dict[str, Any] = {
        "fps": 16.0,
        "generator": torch.Generator("cpu").manual_seed(seed),
        "resume_from": resume_from,
    }
    inputs = (RefinerEngine(case.transformer), case.latents, case.prompt_embeds, case.prompt_attention_mask)
    if mode == "single_shot":
        return modes.refine_single_shot(*inputs, on_step=on_state, **options)
    return modes.refine_autoregressive(*inputs, kv_max_frames=6, on_block=on_state, **options)


def save_and_stop_at(stop: int, path: Path) -> Any:
    from safetensors.torch import save_file

    def on_state(state: Any) -> None:
        if state.next_block == stop:
            save_file({name: tensor.contiguous() for name, tensor in state.to_tensors().items()}, path)
            raise StoppedHereError

    return on_state


@pytest.mark.parametrize(
    ("mode", "stop"), [*(("autoregressive", stop) for stop in (1, 2, 3, 4)), ("single_shot", 1), ("single_shot", 3)]
)
def test_resuming_after_any_block_gives_the_same_bits(refiner_case: Any, tmp_path: Path, mode: str, stop: int) -> None:
    from safetensors.torch import load_file

    from sana_wm.models.refiner.state import RefinerState

    case = refiner_case(12)
    whole = refine(mode, case)
    path = tmp_path / "state.safetensors"
    with pytest.raises(StoppedHereError):
        refine(mode, case, save_and_stop_at(stop, path))
    state = RefinerState.from_tensors(load_file(path))
    # Another seed: the noise must come from the saved generator.
    assert refine(mode, case, resume_from=state, seed=7).equal(whole)


def test_every_block_reports_once_and_the_state_holds_what_is_done(refiner_case: Any) -> None:
    case = refiner_case(12)
    seen: list[tuple[int, Any]] = []
    whole = refine("autoregressive", case, lambda state: seen.append((state.next_block, state.latents.clone())))
    assert [next_block for next_block, _ in seen] == [1, 2, 3, 4]
    for next_block, latents in seen:
        done = 1 + 3 * next_block
        assert latents[:, :, :done].equal(whole[:, :, :done])
        assert latents[:, :, done:].equal(case.latents[:, :, done:])


def test_refining_leaves_the_callers_latents_and_state_alone(refiner_case: Any) -> None:
    case = refiner_case(6)
    before = case.latents.clone()
    states: list[Any] = []
    refine("autoregressive", case, lambda state: states.append(state.to_tensors()))
    assert case.latents.equal(before)


def test_a_state_of_other_latents_is_refused(refiner_case: Any) -> None:
    from sana_wm.errors import HandoffError

    states: list[Any] = []
    refine("autoregressive", refiner_case(6), states.append)
    with pytest.raises(HandoffError, match="of another run"):
        refine("autoregressive", refiner_case(9), resume_from=states[0])


def test_an_incomplete_state_is_refused(refiner_case: Any) -> None:
    from sana_wm.errors import HandoffError
    from sana_wm.models.refiner.state import RefinerState

    with pytest.raises(HandoffError, match="generator_state"):
        RefinerState.from_tensors({"latents": refiner_case(6).latents})


@pytest.mark.parametrize("kv_max_frames", [1, 5, 100])
def test_the_planned_window_is_the_allocated_one(refiner_case: Any, kv_max_frames: int) -> None:
    import torch

    from sana_wm.models.refiner.kv_window import KVWindow
    from sana_wm.models.refiner.refine import refine_autoregressive
    from sana_wm.models.refiner.transformer import RefinerEngine
    from sana_wm.planning.refiner import Refinement, measure_refiner
    from sana_wm.weights.stored import entries_of

    case = refiner_case(9)
    engine = RefinerEngine(case.transformer)
    windows: list[KVWindow] = []
    make_window = engine.new_window
    engine.new_window = lambda *sizes: (windows.append(make_window(*sizes)), windows[-1])[1]
    inputs = (case.latents, case.prompt_embeds, case.prompt_attention_mask)
    generator = torch.Generator("cpu")
    refine_autoregressive(engine, *inputs, fps=16.0, generator=generator, kv_max_frames=kv_max_frames)
    tensors = entries_of(((name, tuple(weight.shape)) for name, weight in case.transformer.named_parameters()), "F32")
    asked = Refinement(tuple(case.latents.shape), "autoregressive", kv_max_frames=kv_max_frames)
    measured = measure_refiner(tensors, case.transformer.config, asked, element_bytes=4)
    kept = (tensor for layers in windows[0]._kept.values() for tensor in layers)
    allocated = (windows[0].key, windows[0].value, *kept)
    assert measured.window_bytes == sum(tensor.nbytes for tensor in allocated)
