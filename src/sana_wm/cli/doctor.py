"""`doctor`: what is installed here, whether this machine computes rightly, whether both backends agree."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sana_wm.cli.app import app
from sana_wm.cli.manifest import AsJson
from sana_wm.errors import (
    StageFailedError,
    UsageError,
    printable,
)

if TYPE_CHECKING:
    from sana_wm.preflight.checkup import Finding
    from sana_wm.preflight.prospect import Prospect


@app.command("doctor")
def doctor(
    manifest_path: Annotated[
        Path | None, typer.Argument(metavar="[MANIFEST]", help="The run to look at, too.", show_default=False)
    ] = None,
    numerics: Annotated[
        bool, typer.Option("--numerics", help="Hold the device's arithmetic against the CPU's: up to a minute.")
    ] = False,
    parity: Annotated[
        bool, typer.Option("--parity", help="Hold our engines against NVIDIA's own classes on a tiny checkpoint.")
    ] = False,
    pr_root: Annotated[
        Path | None,
        typer.Option("--pr-root", envvar="SANA_WM_PR_ROOT", help="Patched checkout of NVlabs/Sana, for --parity."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a real run can start here. With an option, check arithmetic or code. Exit code 7: no."""
    results: dict[str, Any] = {}
    sound = True
    findings: list[Finding] = []
    if not (numerics or parity):
        from sana_wm.preflight.checkup import can_run

        findings = _examine(manifest_path)
        results["findings"] = [finding.as_json() for finding in findings]
        sound = can_run(findings)
    if numerics:
        results["numerics"], passed = _run_numerics(quiet=as_json)
        sound = sound and passed
    if parity:
        results["parity"], passed = _run_parity(pr_root, quiet=as_json)
        sound = sound and passed
    if as_json:
        typer.echo(json.dumps({"ok": sound, **results}, indent=2))
    elif findings:
        _print_findings(findings)
    if not sound:
        raise typer.Exit(StageFailedError.exit_code)


def _run_numerics(*, quiet: bool) -> tuple[Any, bool]:
    """Run the self-test anew; runs go by this result from now on."""
    from sana_wm.preflight.diagnosis import run_diagnostic
    from sana_wm.preflight.numerics_gate import NumericsGate

    diagnosis = run_diagnostic("numerics", [], quiet=quiet, environment=os.environ)
    gate = NumericsGate.of_this_machine(os.environ, say=lambda words: typer.echo(words, err=True))
    gate.keep(diagnosis.report)
    return diagnosis.report, diagnosis.exit_code == 0


def _run_parity(pr_root: Path | None, *, quiet: bool) -> tuple[Any, bool]:
    from sana_wm.preflight.diagnosis import run_diagnostic
    from sana_wm.replacements.checkout import require_patched

    if pr_root is None:
        raise UsageError(
            "--parity needs a checkout of NVIDIA's code",
            next_step="Give --pr-root or set SANA_WM_PR_ROOT (docs/pr379.md).",
        )
    root = require_patched(pr_root).root
    diagnosis = run_diagnostic("parity", ["--pr-root", root], quiet=quiet, environment=os.environ)
    return diagnosis.report, diagnosis.exit_code == 0


def _examine(manifest_path: Path | None) -> list[Finding]:
    from sana_wm.preflight.checkup import examine
    from sana_wm.preflight.facts import gather_machine_facts
    from sana_wm.preflight.prospect import inspect

    if manifest_path is None:
        return examine(gather_machine_facts(os.environ))
    prospect = inspect(manifest_path, os.environ)
    return [*examine(gather_machine_facts(os.environ, prospect.manifest)), *_examine_prospect(prospect)]


def _examine_prospect(prospect: Prospect) -> list[Finding]:
    """Whether this run can start here: what it names, its device, its plan."""
    from sana_wm.preflight.checkup import Finding
    from sana_wm.runs.decisions import stages_to_run
    from sana_wm.sizes import GIB

    findings = [
        Finding(
            problem.field,
            problem.what if problem.got is None else f"{problem.what}; got {problem.got}",
            "problem",
            problem.next_step or "",
        )
        for problem in prospect.problems
    ]
    if not findings and prospect.manifest is not None:
        value = "its inputs can be used, and its output has the room"
        findings = [Finding("manifest", prospect.manifest.name, "ok", value)]
    findings += [Finding("manifest", warning, "warning", "") for warning in prospect.warnings]
    if (plan := prospect.plan) is not None and plan.fits:
        value = f"peak {plan.peak_bytes / GIB:.1f} GiB under a cap of {plan.cap_bytes / GIB:.1f} GiB"
        if not stages_to_run(prospect.decisions):
            value = "every stage is done: there is nothing to compute"
        findings.append(Finding("plan", value, "ok", "`sana-wm plan MANIFEST` has the phases and times"))
    return findings


def _print_findings(findings: list[Finding]) -> None:
    marks = {"ok": "ok", "warning": "warning", "problem": "PROBLEM"}
    for finding in findings:
        typer.echo(printable(f"{marks[finding.level]:<8} {finding.what}: {finding.value}"))
        if finding.advice:
            typer.echo(printable(f"         {finding.advice}"))
    problems = sum(finding.level == "problem" for finding in findings)
    verdict = f"cannot start here: see PROBLEM above ({problems})" if problems else "can start here"
    typer.echo(f"\nA real run {verdict}.")
    typer.echo("--numerics: check this machine's arithmetic. --parity: hold both backends against each other.")
