"""Typer commands; the only place that prints and that chooses exit codes."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Generator
from typing import NoReturn

# The modules of commands are imported for what they add to `app`.
from sana_wm.cli import (
    bench,
    camera,
    compare,
    crop,
    demo,
    doctor,
    extend,
    init_manifest,
    manifest,
    moves,
    patches,
    plan,
    queue,
    refine,
    report,
    run,
    run_pipeline,
    runs,
    status,
    studio,
    vary,
    verify,
    weights,
    weights_use,
)
from sana_wm.cli.app import app
from sana_wm.cli.colours import write_labelled
from sana_wm.cli.surroundings import settle_surroundings
from sana_wm.errors import ModuleEndedError, SanaWMError, StageFailedError, as_refusal


def main() -> None:
    """The whole command line: one handler turns errors into a message and an exit code."""
    settle_surroundings()
    try:
        with _asked_to_end():
            app(prog_name="sana-wm")
    except SanaWMError as error:
        _leave(error)
    except ModuleEndedError as error:
        if error.exit_code < 0:  # it could not say anything itself
            _leave(StageFailedError(str(error), next_step="Look for the reason above; then run the command again."))
        sys.exit(error.exit_code)
    except OSError as error:
        if (refusal := as_refusal(error)) is None:
            raise
        _leave(refusal)


@contextlib.contextmanager
def _asked_to_end() -> Generator[None]:
    """Take SIGTERM and SIGHUP (a closed terminal) as Ctrl-C is: what is open is closed, half a file removed.

    A run takes them otherwise, while its stages work (`sana_wm.launcher.supervisor`).
    """
    # What the parent of this process set to be ignored stays ignored: that is how nohup works.
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    numbers = [number for number in wanted if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _leave(error: SanaWMError) -> NoReturn:
    with contextlib.suppress(OSError):  # the exit code says it too
        write_labelled("sana-wm", str(error), sys.stderr)
    sys.exit(error.exit_code)


__all__ = [
    "app",
    "bench",
    "camera",
    "compare",
    "crop",
    "demo",
    "doctor",
    "extend",
    "init_manifest",
    "main",
    "manifest",
    "moves",
    "patches",
    "plan",
    "queue",
    "refine",
    "report",
    "run",
    "run_pipeline",
    "runs",
    "status",
    "studio",
    "vary",
    "verify",
    "weights",
    "weights_use",
]
