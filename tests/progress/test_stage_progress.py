from __future__ import annotations

import pytest

from sana_wm.names import SAVING, STARTING
from sana_wm.progress.stage_progress import replay
from sana_wm.runs.events import Event, PhaseEnd, PhaseStart, StageStart, StepDone, StepsBegin


def test_every_second_between_start_and_end_belongs_to_a_phase() -> None:
    events: list[Event] = [
        StageStart(time_s=103.0),
        PhaseStart(time_s=105.0, phase="text_encoder"),
        PhaseEnd(time_s=108.0, name="text_encoder"),
        PhaseStart(time_s=109.0, phase="transformer"),
        StepDone(time_s=112.0, step=1, total=3),
        StepDone(time_s=116.0, step=3, total=3, preview="/run/previews/0003.png"),
    ]
    running = replay("stage1", events, started_at_s=100.0)
    assert (running.phase, running.step, running.total, running.seconds_per_step) == ("transformer", 3, 3, 2.0)
    assert running.preview == "/run/previews/0003.png"
    events.append(PhaseEnd(time_s=117.0, name="transformer"))
    ended = replay("stage1", events, started_at_s=100.0, ended_at_s=120.0)
    assert ended.spent_s == {STARTING: 5.0, "text_encoder": 3.0, SAVING: 4.0, "transformer": 8.0}
    assert ended.ended
    assert ended.preview == "/run/previews/0003.png"


def test_a_decoder_that_reports_in_strides_began_at_the_beginning() -> None:
    strides = [StepDone(time_s=float(number), step=number, total=56) for number in (13, 29, 45, 56)]
    begun = PhaseStart(time_s=0.0, phase="vae_decoder")
    assert replay("vae_decode", [begun, *strides], started_at_s=0.0).partly_done == set()
    assert replay("vae_decode", [begun, *strides[2:]], started_at_s=0.0).partly_done == {"vae_decoder"}


def test_time_left_goes_by_the_work_of_steps_that_are_not_alike() -> None:
    """Two guided steps of two passes each, then two of one: half a minute a pass."""
    passes = (2, 2, 1, 1)
    events: list[Event] = [PhaseStart(time_s=0.0, phase="transformer")]
    left: list[float | None] = []
    for step in range(1, 5):
        done = sum(passes[:step])
        events.append(StepDone(time_s=30.0 * done, step=step, total=4, share=done / 6))
        left.append(replay("stage1", events, started_at_s=0.0).remaining_s)
    assert left[0] is None
    assert left[1:] == pytest.approx([60.0, 30.0, 0.0])


def test_a_phase_says_itself_that_an_earlier_start_began_it() -> None:
    begun = PhaseStart(time_s=0.0, phase="transformer")
    rest = StepsBegin(time_s=5.0, step=59, total=60, by_earlier_start=True)
    progress = replay("stage1", [begun, rest], started_at_s=0.0)
    assert (progress.step, progress.total, progress.partly_done) == (59, 60, {"transformer"})
    whole = StepsBegin(time_s=5.0, step=0, total=1)
    assert (
        replay("stage1", [begun, whole, StepDone(time_s=9.0, step=1, total=1)], started_at_s=0.0).partly_done == set()
    )
    continued = StepsBegin(time_s=5.0, step=7, total=14)  # the chunks of the run that it goes on from
    steps = [StepDone(time_s=5.0 + number, step=7 + number, total=14) for number in (1, 2)]
    assert replay("stage1", [begun, continued, *steps], started_at_s=0.0).partly_done == set()


def test_the_rest_goes_by_the_newest_steps_and_by_their_work() -> None:
    begun: list[Event] = [PhaseStart(time_s=0.0, phase="transformer"), StepsBegin(time_s=0.0, step=0, total=60)]
    slower = [StepDone(time_s=sum(10.0 + n for n in range(step)), step=step, total=60) for step in range(1, 31)]
    progress = replay("stage1", [*begun, *slower], started_at_s=0.0)
    assert progress.seconds_per_step == 24.5
    assert progress.remaining_s == 30 * (39 + 30) / 2
    guided = [  # half of the steps take two passes, the others one
        StepDone(time_s=20.0 * step, step=step, total=60, share=2 * step / 90) for step in range(1, 16)
    ]
    progress = replay("stage1", [*begun, *guided], started_at_s=0.0)
    assert progress.remaining_s == pytest.approx(15 * 20.0 + 30 * 10.0)
    assert progress.done_share == pytest.approx(1 / 3)
