from __future__ import annotations

from collections.abc import Callable

import pytest

from sana_wm.pipeline import STAGE1
from sana_wm.planning.device import Device
from sana_wm.planning.forecast import RunForecaster
from sana_wm.planning.kernels import KernelRules, kernel_rules
from sana_wm.planning.stage1 import choose_plan, step_tflop
from sana_wm.planning.streaming import Window, chunk_ranges, chunk_shape, chunk_tflop, memory_bytes, stream_tflop
from sana_wm.sizes import GIB

RELEASED = {"hidden_size": 2240, "linear_head_dim": 112, "num_layers": 20, "softmax_every_n": 4}
PLANE = (22, 40)
WEIGHTS_BYTES = 5_323_600_896
MAC = Device("mps", "Apple M3 Max", 96 * GIB, "2.13.0")


def released_shape(frames: int, rules: KernelRules | None = None):
    return chunk_shape(
        RELEASED,
        chunk_ranges(frames),
        PLANE,
        Window(),
        element_bytes=2,
        attention_element_bytes=2,
        rules=rules or KernelRules(),
    )


def test_the_working_set_does_not_grow_with_the_video():
    assert released_shape(13) == released_shape(40) == released_shape(121) == released_shape(361)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_any_length_fits_in_8_gib_with_the_weights(device):
    plan = choose_plan(released_shape(121, kernel_rules(device, "2.13.0")), None)
    assert plan.working_set_bytes + WEIGHTS_BYTES <= 8 * GIB


def test_less_memory_means_smaller_parts():
    shape = released_shape(40)
    free = choose_plan(shape, None)
    lean = choose_plan(shape, int(0.975 * free.working_set_bytes))
    assert lean.feed_forward_frames < free.feed_forward_frames


def test_the_arithmetic_of_a_clip_is_that_of_the_reference():
    """313 frames: 1.0 PFLOP in 65 passes, where 60 guided steps take 34."""
    total = stream_tflop(RELEASED, chunk_ranges(40), PLANE, Window(), passes=5)
    assert total == pytest.approx(1000, rel=0.03)
    assert 120 * step_tflop(RELEASED, (40, *PLANE), 1) / total == pytest.approx(34, rel=0.03)


def test_a_steady_chunk_costs_the_same_wherever_it_lies():
    ranges = chunk_ranges(121)
    steady = {chunk_tflop(RELEASED, ranges, chunk, PLANE, Window()) for chunk in range(2, len(ranges))}
    assert len(steady) == 1
    assert steady.pop() == pytest.approx(15.2, rel=0.03)


def test_a_window_without_end_grows():
    ranges = chunk_ranges(121)
    window = Window(-1)
    assert chunk_tflop(RELEASED, ranges, 30, PLANE, window) > chunk_tflop(RELEASED, ranges, 20, PLANE, window)


@pytest.mark.parametrize(
    ("dtype", "device", "element_bytes"),
    [("bfloat16", "cpu", 2), ("float32", "mps", 4), ("auto", "mps", 2), ("auto", "cpu", 4), ("auto", "auto", 4)],
)
def test_a_kept_state_is_given_room_in_the_dtype_it_is_kept_in(
    full_size_run: Callable[..., RunForecaster], dtype: str, device: str, element_bytes: int
) -> None:
    def run_bytes(keep_state: bool) -> int:
        run = full_size_run(MAC, 49, 96, "streaming", stage1__keep_state=keep_state)
        return STAGE1.run_bytes(run.manifest.model_copy(update={"dtype": dtype, "device": device}))

    # Twice: the old beside the new. A last chunk leaves the keys of seven frames.
    twice_bytes = memory_bytes(RELEASED, PLANE, 7, 7, element_bytes=element_bytes, attention_bytes=element_bytes)
    assert run_bytes(True) - run_bytes(False) == twice_bytes // 2
