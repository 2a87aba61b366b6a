"""The command tree. Each module of this package adds its commands to `app`; `sana_wm.cli` imports them all."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from sana_wm.cli.surroundings import require_working_folder

#: As a user meets them.
ORDER = (
    *("demo", "weights", "init-manifest", "camera", "doctor", "validate-manifest", "plan"),
    *("run-pipeline", "resume", "refine", "extend", "queue"),
    *("status", "report", "runs", "compare", "verify", "bench", "patches"),
)


class CommandsInOrder(TyperGroup):
    """Lists the commands as `ORDER` does."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = typer.Typer(
    name="sana-wm",
    cls=CommandsInOrder,
    help="Run SANA-WM, a camera-controlled world model: image, prompt and camera path in, MP4 out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich costs 0.1 s at every start and only draws boxes
)
weights_app = typer.Typer(help="What weights are needed and here; download, verify.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")
patches_app = typer.Typer(help="What runs in place of library code, and why.", no_args_is_help=True)
app.add_typer(patches_app, name="patches")
camera_app = typer.Typer(help="Look at a camera path before hours are spent on it.", no_args_is_help=True)
app.add_typer(camera_app, name="camera")
runs_app = typer.Typer(help="Which runs are there: list, compare, remove, prune.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")
queue_app = typer.Typer(help="Runs that wait for their turn, one after another, overnight.", no_args_is_help=True)
app.add_typer(queue_app, name="queue")


def _print_version(wanted: bool) -> None:
    if wanted:
        from sana_wm.cli.version import describe_versions

        typer.echo(describe_versions())
        raise typer.Exit


@app.callback()
def common(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the versions that a bug report needs."
    ),
) -> None:
    """Options that stand before a command."""
    require_working_folder()
