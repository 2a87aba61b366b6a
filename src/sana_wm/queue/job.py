"""A job of the queue: what its file says, and what becomes of it. Nothing here touches a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sana_wm.figures import format_seconds, is_exact
from sana_wm.names import Stage
from sana_wm.records import Count, Record, Seconds, WallClock, as_unicode

if TYPE_CHECKING:
    from sana_wm.planning.plan import RunPlan
    from sana_wm.preflight.prospect import Choices
    from sana_wm.progress.snapshot import RunSnapshot

JobState = Literal["waiting", "running", "done", "failed"]
#: After so many a job is parked: only `retry` starts it again. One that takes the machine down must not do so for ever.
FAILURES_TO_PARK = 2
#: How much of a reason is kept; a list of problems can be long.
MAX_REASON = 2000


class JobOptions(Record):
    """What was said besides the manifest when a job was added, as of `Choices`."""

    stop_after: Stage | None = None
    accept_over_cap: bool = False
    accept_numerics: tuple[str, ...] = ()

    @classmethod
    def of(cls, choices: Choices) -> JobOptions:
        """What of a command's choices a job keeps; changed fields stand in its manifest already."""
        return cls(
            stop_after=choices.stop_after,
            accept_over_cap=choices.accept_over_cap,
            accept_numerics=choices.accept_numerics,
        )

    def as_arguments(self) -> list[str]:
        """The same as options of run-pipeline."""
        return [
            *(["--to", self.stop_after] if self.stop_after is not None else []),
            *(["--accept-over-cap"] if self.accept_over_cap else []),
            *(word for rule in self.accept_numerics for word in ("--accept-numerics", rule)),
        ]


@dataclass(frozen=True)
class Expectation:
    """How long a job will take.

    Attributes:
        seconds: Likely; `None` where nothing is known.
        range_s: The least and the most that it may be, where that is known.
        is_guess: Whether nothing like it ran on this machine yet.
    """

    seconds: float | None = None
    range_s: tuple[float, float] | None = None
    is_guess: bool = False

    @classmethod
    def of_plan(cls, plan: RunPlan | None) -> Expectation:
        """Of a job that has not begun."""
        if plan is None or not plan.fits:
            return cls()
        low_s, high_s = plan.range_s
        return cls(round(plan.seconds, 1), (round(low_s, 1), round(high_s, 1)), not plan.is_measured)

    @classmethod
    def of_snapshot(cls, snapshot: RunSnapshot) -> Expectation:
        """Of what is left of one that runs."""
        low_s, high_s = snapshot.remaining_low_s, snapshot.remaining_high_s
        range_s = None if low_s is None or high_s is None else (low_s, high_s)
        return cls(snapshot.remaining_s, range_s, bool(snapshot.guessed or snapshot.not_counted))

    def in_words(self) -> str:
        """For people: a range while it is a guess, `4 m 10 s to 1 h 03 m, a guess`; empty where nothing is known."""
        if self.seconds is None:
            return ""
        if self.is_guess and self.range_s is not None and not is_exact(*self.range_s):
            return f"{' to '.join(map(format_seconds, self.range_s))}, a guess"
        return f"{'about ' if self.is_guess else ''}{format_seconds(self.seconds)}"


NOTHING_KNOWN = Expectation()


class Job(Record):
    """One job.

    Attributes:
        number: Its name in the queue; never given twice.
        name: Its manifest's.
        run_dir: Where its run lies.
        state: `failed` is parked.
        turn: Waiting jobs start in the order of their turns.
        added_at_s: Wall clock.
        begun_at_s: Of its last start.
        ended_at_s: Of its last end, well or not.
        failures: Since it was added or retried.
        reason: Why it failed or stopped last, in words.
        expected_s: How long it will take, as far as that is known.
        expected_range_s: The least and the most that it may be.
        is_guess: Whether nothing like it ran on this machine yet.
        is_cancelled: Whether it shall leave the queue as soon as it has stopped.
        options: What was said when it was added.
    """

    number: Annotated[int, Field(ge=1, lt=2**31)]
    name: str
    run_dir: str
    state: JobState = "waiting"
    turn: Count
    added_at_s: WallClock
    begun_at_s: WallClock | None = None
    ended_at_s: WallClock | None = None
    failures: Count = 0
    reason: str | None = None
    expected_s: Seconds | None = None
    expected_range_s: tuple[Seconds, Seconds] | None = None
    is_guess: bool = False
    is_cancelled: bool = False
    options: JobOptions = JobOptions()

    def __str__(self) -> str:
        return f"job {self.number} ({self.name})"

    @property
    def expected(self) -> Expectation:
        """How long it will take."""
        return Expectation(self.expected_s, self.expected_range_s, self.is_guess)

    def expecting(self, expected: Expectation) -> Job:
        """Its time is known better."""
        update = {"expected_s": expected.seconds, "expected_range_s": expected.range_s, "is_guess": expected.is_guess}
        return self.model_copy(update=update)

    def begun(self, now_s: float) -> Job:
        """It starts."""
        return self.model_copy(update={"state": "running", "begun_at_s": now_s})

    def done(self, now_s: float) -> Job:
        """It ended well."""
        return self.model_copy(update={"state": "done", "ended_at_s": now_s, "reason": None})

    def stopped(self, reason: str, now_s: float, left: Expectation | None = None) -> Job:
        """It was stopped so that it can go on: it keeps its turn, so it is the next.

        Args:
            reason: Why, in words.
            now_s: Wall clock.
            left: What it still has to do, if that is known.
        """
        job = self if left is None else self.expecting(left)
        return job.model_copy(update={"state": "waiting", "ended_at_s": now_s, "reason": as_unicode(reason)})

    def failed(self, reason: str, now_s: float, last_turn: int) -> Job:
        """It failed: behind all others for another try, or parked.

        Args:
            reason: Why, in words.
            now_s: Wall clock.
            last_turn: The last one that is given.
        """
        failures = self.failures + 1
        parked = failures >= FAILURES_TO_PARK
        return self.model_copy(
            update={
                "state": "failed" if parked else "waiting",
                "turn": self.turn if parked else last_turn + 1,
                "ended_at_s": now_s,
                "failures": failures,
                "reason": as_unicode(reason[:MAX_REASON]),
            }
        )

    def retried(self, last_turn: int) -> Job:
        """Somebody wants it to be tried again, as if it had never failed."""
        return self.model_copy(update={"state": "waiting", "turn": last_turn + 1, "failures": 0, "reason": None})


def in_order(jobs: Iterable[Job]) -> list[Job]:
    """Jobs as people want to see them: what runs, what comes, what failed, what is done."""
    states: tuple[JobState, ...] = ("running", "waiting", "failed", "done")
    return sorted(jobs, key=lambda job: (states.index(job.state), job.turn, job.number))
