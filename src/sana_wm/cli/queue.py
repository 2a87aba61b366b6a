"""`queue`: manifests that wait for their turn, and the runner that works them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import queue_app
from sana_wm.cli.manifest import AsJson, tell_remarks
from sana_wm.cli.run_pipeline import AcceptNumerics, AcceptOverCap, StopAfter, stage_asked
from sana_wm.cli.runs import RUNS_FOLDER
from sana_wm.cli.surroundings import outlive_the_output
from sana_wm.errors import InterruptedRunError, StageFailedError, UsageError, printable

if TYPE_CHECKING:
    from sana_wm.drafting.new_run import NewRun
    from sana_wm.preflight.prospect import Choices
    from sana_wm.queue.folder import Queue
    from sana_wm.queue.forecast import JobForecast

Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="The runs folder whose queue it is.")]
Jobs = Annotated[list[int], typer.Argument(metavar="JOB", help="Numbers as queue list shows them.")]
ToQueue = Annotated[
    bool, typer.Option("--queue", help="Do not run it now: add it to the queue of ./runs (sana-wm queue --help).")
]


def queue_of(runs: Path) -> Queue:
    """The queue of a runs folder."""
    from sana_wm.cli.output import real_path
    from sana_wm.queue.folder import Queue

    return Queue(real_path(runs) / "queue")


@queue_app.command("add")
def add_manifests(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST", help="JSON manifests of runs.")],
    anyway: Annotated[bool, typer.Option("--anyway", help="Add what could not start now.")] = False,
    stop_after: StopAfter = None,
    accept_numerics: AcceptNumerics = None,
    accept_over_cap: AcceptOverCap = False,
    runs: Runs = RUNS_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Add manifests. Each is checked, then copied: editing it afterwards changes no job."""
    from sana_wm.preflight.prospect import Choices

    choices = Choices(
        stop_after=stage_asked("--to", stop_after),
        accept_over_cap=accept_over_cap,
        accept_numerics=tuple(accept_numerics or ()),
    )
    add_to_queue(manifests, choices, runs, anyway=anyway, as_json=as_json)


def refuse_beside_queue(**options: object) -> None:
    """Refuse options that mean something only to a run that starts now.

    Args:
        options: What was said for them, by their names in Python.
    """
    said = [f"--{name.replace('_', '-')}" for name, value in options.items() if value not in (None, False)]
    if said:
        raise UsageError(
            f"{said[0]} and --queue do not go together", next_step="Leave one of them out: a queued run starts later."
        )


def add_to_queue(
    manifests: Sequence[Path], choices: Choices, runs: Path = RUNS_FOLDER, *, anyway: bool = False, as_json: bool
) -> None:
    """Add manifests to the queue of a runs folder and say so: `queue add`, and `--queue` of other commands."""
    from sana_wm.queue.adding import add

    added = add(queue_of(runs), manifests, os.environ, choices, anyway=anyway)
    for one in added:
        tell_remarks(one.prospect)
    if as_json:
        typer.echo(json.dumps([one.job.model_dump(mode="json") for one in added], indent=2))
        return
    for one in added:
        for problem in one.prospect.problems:
            typer.echo(printable(f"added all the same: {problem}"), err=True)
        typer.echo(printable(f"{one.job} is added: {one.job.run_dir}"))
    typer.echo("It starts with: sana-wm queue run", err=True)


def queue_new_runs(new: Sequence[NewRun], choices: Choices, *, as_json: bool = False) -> None:
    """Add new runs to the queue; their manifests stay, and keep their names, unless they were refused."""
    try:
        add_to_queue([one.manifest_path for one in new], choices, as_json=as_json)
    except BaseException:
        for one in new:
            one.discard_unstarted()
        raise


@queue_app.command("list")
def list_jobs(runs: Runs = RUNS_FOLDER, as_json: AsJson = False) -> None:
    """List the jobs. State, place, when each will be through, why it failed."""
    from sana_wm.cli.queue_text import describe_queue, queue_as_json
    from sana_wm.queue.forecast import forecast
    from sana_wm.runs.lock import read_owner

    queue = queue_of(runs)
    forecasts: list[JobForecast] = forecast(queue, os.environ)
    owner = read_owner(queue.as_owned) if queue.is_worked() else None
    if as_json:
        typer.echo(json.dumps(queue_as_json(queue, forecasts, owner), indent=2))
    else:
        typer.echo("\n".join(printable(line) for line in describe_queue(queue, forecasts, owner)))


@queue_app.command("run")
def run_queue(
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="HH:MM", help="From then on no job starts; the one that runs saves."),
    ] = None,
    min_battery: Annotated[
        int | None,
        typer.Option(
            "--min-battery", metavar="PERCENT", min=1, max=90, help="Wait while on battery below this charge."
        ),
    ] = None,
    runs: Runs = RUNS_FOLDER,
) -> None:
    """Work the queue, one job after another. Ctrl-C stops the job so that the next start goes on with it."""
    from datetime import datetime

    from sana_wm.cli.finish import notify
    from sana_wm.cli.progress_view import make_view
    from sana_wm.queue.hours import Hours, next_time_of_day
    from sana_wm.queue.runner import Runner

    outlive_the_output()
    end = None if until is None else next_time_of_day(until, datetime.now().astimezone())
    hours = Hours(until_s=None if end is None else end.timestamp(), min_battery_percent=min_battery)
    with make_view(sys.stderr) as view:
        if end is not None:
            view.say(f"until {end:%Y-%m-%d %H:%M}")
        runner = Runner(queue_of(runs), hours, view.say, lambda snapshot: view("progress", snapshot))
        stop = runner.work()
    result = f"{len(runner.done)} done, {len(runner.parked)} parked"
    typer.echo(result)
    notify(f"sana-wm: the queue stopped: {result}")
    if stop is not None and stop.kind == "asked":
        raise InterruptedRunError(f"the queue stopped: {stop.why}", next_step="Go on with: sana-wm queue run")
    if runner.parked:
        numbers = " ".join(str(job.number) for job in runner.parked)
        raise StageFailedError(
            f"{'a job' if len(runner.parked) == 1 else 'jobs'} failed twice and stay parked",
            got=", ".join(map(str, runner.parked)),
            next_step=f"sana-wm queue list says why; then: sana-wm queue retry {numbers}",
        )


@queue_app.command("pause")
def pause_queue(
    after_job: Annotated[bool, typer.Option("--after-job", help="Let the job that runs end first.")] = False,
    runs: Runs = RUNS_FOLDER,
) -> None:
    """Stop the runner from another terminal, as Ctrl-C would. The job saves; queue run goes on with it."""
    from sana_wm.queue.requests import pause

    pause(queue_of(runs), "after this job" if after_job else "now")
    what = "the job that runs ends first" if after_job else "the job that runs ends its step and saves"
    typer.echo(f"asked to stop: {what}. Go on with: sana-wm queue run")


@queue_app.command("cancel")
def cancel_jobs(jobs: Jobs, runs: Runs = RUNS_FOLDER) -> None:
    """Take jobs out of the queue, in whatever state. What they made stays where it is."""
    from sana_wm.queue.requests import cancel

    for job in cancel(queue_of(runs), jobs):
        how = "leaves the queue when it has saved" if job.is_cancelled else "is out of the queue"
        typer.echo(printable(f"{job} {how}; what it made stays in {job.run_dir}"))


@queue_app.command("retry")
def retry_jobs(jobs: Jobs, runs: Runs = RUNS_FOLDER) -> None:
    """Let failed jobs wait for their turn again. They go on from what they had saved."""
    from sana_wm.queue.requests import retry

    for job in retry(queue_of(runs), jobs):
        typer.echo(printable(f"{job} waits for its turn"))
