"""`doctor`: what is installed here, whether this machine computes rightly, whether our code is safe on MPS."""

from __future__ import annotations

import json
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from sana_wm import __version__
from sana_wm.cli.app import app
from sana_wm.cli.manifest import AsJson
from sana_wm.errors import StageFailedError, UsageError

PACKAGES = ("torch", "diffusers", "transformers")


@app.command("doctor")
def doctor(
    numerics: Annotated[
        bool, typer.Option("--numerics", help="Hold the device's arithmetic against the CPU's: up to a minute.")
    ] = False,
    mps_lint: Annotated[
        bool, typer.Option("--mps-lint", help="Hold our networks against the limits of MPS: minutes, on any machine.")
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
    """Say what is installed here; with an option, check the machine or the code. Exit code 7: something is wrong."""
    results: dict[str, Any] = {}
    sound = True
    if not (numerics or mps_lint or parity):
        results["installation"] = _describe_installation()
        sound = not results["installation"]["missing"]
    if numerics:
        results["numerics"], passed = _run_numerics(quiet=as_json)
        sound = sound and passed
    if mps_lint:
        results["mps_lint"], passed = _run_mps_lint(quiet=as_json)
        sound = sound and passed
    if parity:
        results["parity"], passed = _run_parity(pr_root, quiet=as_json)
        sound = sound and passed
    if as_json:
        typer.echo(json.dumps({"ok": sound, **results}, indent=2))
    elif "installation" in results:
        _print_installation(results["installation"])
    if not sound:
        raise typer.Exit(StageFailedError.exit_code)


def _run_numerics(*, quiet: bool) -> tuple[Any, bool]:
    """Run the self-test anew; runs go by this result from now on."""
    from sana_wm.launcher.diagnosis import run_diagnostic
    from sana_wm.launcher.numerics_gate import NumericsGate

    diagnosis = run_diagnostic("numerics", [], quiet=quiet, environment=os.environ)
    gate = NumericsGate.of_this_machine(os.environ, say=lambda words: typer.echo(words, err=True))
    gate.keep(diagnosis.report)
    return diagnosis.report, diagnosis.exit_code == 0


def _run_mps_lint(*, quiet: bool) -> tuple[Any, bool]:
    from sana_wm.launcher.diagnosis import run_diagnostic

    diagnosis = run_diagnostic("mps_lint", [], quiet=quiet, environment=os.environ)
    return diagnosis.report, diagnosis.exit_code == 0


def _run_parity(pr_root: Path | None, *, quiet: bool) -> tuple[Any, bool]:
    from sana_wm.launcher.diagnosis import run_diagnostic
    from sana_wm.patches.checkout import require_patched

    if pr_root is None:
        raise UsageError(
            "--parity needs a checkout of NVIDIA's code",
            next_step="Give --pr-root or set SANA_WM_PR_ROOT (docs/pr379.md).",
        )
    root = require_patched(pr_root).root
    diagnosis = run_diagnostic("parity", ["--pr-root", root], quiet=quiet, environment=os.environ)
    return diagnosis.report, diagnosis.exit_code == 0


def _describe_installation() -> dict[str, Any]:
    versions = {"sana_wm": __version__, "python": platform.python_version()}
    versions |= {name: _version_of(name) for name in PACKAGES}
    ffmpeg = _find_ffmpeg()
    missing = [name for name, version in versions.items() if version is None]
    return {
        "platform": platform.platform(),
        "versions": versions,
        "free_disk_gib": round(shutil.disk_usage(Path.cwd()).free / 1024**3, 1),
        "ffmpeg": ffmpeg,
        "missing": missing if ffmpeg else [*missing, "ffmpeg"],
    }


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _find_ffmpeg() -> str | None:
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:  # what it raises when it has none for this platform
        return None


def _print_installation(installation: dict[str, Any]) -> None:
    rows = {
        "platform": installation["platform"],
        **installation["versions"],
        "ffmpeg": installation["ffmpeg"],
        "free disk": f"{installation['free_disk_gib']} GiB in {Path.cwd()}",
    }
    for name, value in rows.items():
        typer.echo(f"{name:<14} {value or 'MISSING'}")
    typer.echo(
        "\n--numerics: check this machine's arithmetic. --mps-lint: check our networks against the limits of MPS. "
        "--parity: hold them against NVIDIA's own."
    )
