"""The diagnostics that need torch, each in a process of its own."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sana_wm.errors import ModuleEndedError, StageFailedError
from sana_wm.modules import run_module, without_overrides

Diagnostic = Literal["numerics", "parity"]


@dataclass(frozen=True)
class Diagnosis:
    """What a diagnostic ended with.

    Attributes:
        exit_code: 0, or that of `StageFailedError` when it found something.
        report: What it wrote as JSON.
    """

    exit_code: int
    report: Any


def run_diagnostic(name: Diagnostic, arguments: list[str], *, quiet: bool, environment: Mapping[str, str]) -> Diagnosis:
    """Run `python -m sana_wm.diagnostics.NAME` and read its report.

    Args:
        name: Which one.
        arguments: Its arguments, without `--json`.
        quiet: Keep its table from the terminal.
        environment: This process's environment; what changes the numbers is taken out, as for a stage.

    Raises:
        StageFailedError: It ended without a report: a bug, or an operation that took the process with it.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        exit_code = _run(name, [*arguments, "--json", str(file)], quiet, without_overrides(environment))
        if exit_code not in (0, StageFailedError.exit_code) or not file.is_file():
            ended = f"signal {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"
            raise StageFailedError(
                f"the diagnostic {name} ended without a result",
                got=ended,
                next_step=f"`sana-wm doctor --{name}` shows how far it gets.",
            )
        return Diagnosis(exit_code, json.loads(file.read_text(encoding="utf-8")))


def _run(name: Diagnostic, arguments: list[str], quiet: bool, environment: Mapping[str, str]) -> int:
    try:
        run_module(f"sana_wm.diagnostics.{name}", arguments, quiet=quiet, environment=environment)
    except ModuleEndedError as end:
        return end.exit_code
    return 0
