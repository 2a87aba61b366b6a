"""What the earlier starts of a run took: read, before a new start begins, from what the last one left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sana_wm.errors import HandoffError
from sana_wm.names import Stage
from sana_wm.pipeline import PIPELINE
from sana_wm.progress.run_record import EarlierStarts, Reached, RunEnd, RunStart
from sana_wm.progress.stage_progress import StageProgress, replay
from sana_wm.runs.decisions import StageDecision
from sana_wm.runs.events import Event, StageDone, parse_reading, read_events
from sana_wm.runs.lines import LineReader
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory


def look_back(run: RunDirectory, decisions: Sequence[StageDecision], over: Sequence[Stage] = ()) -> EarlierStarts:
    """What a run took before the start that is about to begin.

    A start that was killed ended with its last word: an event, or a line of the memory log. A stage's seconds count
    from its begin; what is run anew, because it is no longer valid or because the user wants it, begins again at 0.

    Args:
        run: The run directory, owned, before anything of this start is written into it.
        decisions: What happens to each stage.
        over: Stages that start over.
    """
    stages_s: dict[Stage, Mapping[str, float]] = {}
    for decision in decisions:
        if decision.action == "skip" and (times_s := times_of_receipt(run, decision.stage)):
            stages_s[decision.stage] = times_s
    last = RunStart.read(run)
    if last is None:
        return EarlierStarts(stages_s=stages_s)
    events: dict[Stage, list[Event]] = {stage: read_events(run.events_file(stage)) for stage in last.stages}
    seen = replay_start(run, last, events)
    end = RunEnd.read(run)
    ended_at_s = end.ended_at_s if end is not None else _last_word_s(run, last, events)
    reached = dict[Stage, Reached]()
    for decision in decisions:
        stage = decision.stage
        is_to_come = decision.action in ("run", "later") and stage not in over
        if not is_to_come or not run.beginning_file(stage).is_file():
            continue
        progress = seen.get(stage)
        stages_s[stage] = last.times_of(stage, progress, ended_at_s)
        if (there := _reached(stage, progress) or last.reached.get(stage)) is not None:
            reached[stage] = there
    return EarlierStarts(last.elapsed_s(ended_at_s), stages_s, reached)


def replay_start(
    run: RunDirectory, start: RunStart, events: Mapping[Stage, Sequence[Event]], *, under_way: bool = False
) -> dict[Stage, StageProgress]:
    """Progress of the stages that a start has begun.

    Args:
        run: The run directory.
        start: The start.
        events: By stage; those of earlier starts are left out.
        under_way: Whether it still runs.
    """
    seen: dict[Stage, StageProgress] = {}
    end_s = start.started_at_s
    for stage in start.stages:
        begun_s = start.begun_s.get(stage, end_s)  # earlier releases did not write it down
        told = [event for event in events.get(stage, ()) if event.time_s >= begun_s]
        if not told and not under_way:
            break
        done = bool(told) and isinstance(told[-1], StageDone) and run.receipt_file(stage).is_file()
        ended_at_s = start.ended_s.get(stage, told[-1].time_s) if done else None
        seen[stage] = replay(stage, told, started_at_s=begun_s, ended_at_s=ended_at_s, idle=start.idle)
        if ended_at_s is None:
            break
        end_s = ended_at_s
    return seen


def times_of_receipt(run: RunDirectory, stage: Stage) -> Mapping[str, float]:
    """Seconds of a finished stage by phase, as its receipt has them; none where no receipt can be read."""
    try:
        receipt = read_receipt(run, stage)
    except (HandoffError, OSError):
        return {}
    return receipt.times_s if receipt is not None else {}


def _reached(stage: Stage, progress: StageProgress | None) -> Reached | None:
    """How far a process got; `None` where it got to no phase."""
    if progress is None or progress.phase not in PIPELINE[stage].phases:
        return None
    return Reached(progress.phase, min(1.0, progress.done_share))


def _last_word_s(run: RunDirectory, start: RunStart, events: Mapping[Stage, Sequence[Event]]) -> float:
    words = [told[-1].time_s for told in events.values() if told]
    readings = LineReader(run.memory_file, parse_reading).read()
    words += [readings[-1].time_s] if readings else []
    return max([start.started_at_s, *words])
