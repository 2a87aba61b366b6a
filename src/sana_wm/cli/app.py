"""The command tree. Each module of this package adds its commands to `app`; `sana_wm.cli` imports them all."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from sana_wm.cli.colours import say_aside
from sana_wm.cli.surroundings import require_working_folder
from sana_wm.cli.words import unknown_command, with_new_names

#: As a user meets them.
ORDER = (
    *("demo", "weights", "run", "init-manifest", "camera", "doctor", "validate-manifest", "plan"),
    *("run-pipeline", "resume", "refine", "vary", "promote", "branch", "extend", "queue", "studio"),
    *("status", "report", "runs", "compare", "verify", "bench", "patches"),
)


class HelpfulGroup(TyperGroup):
    """A group of commands that knows what other words for them mean."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first argument names, with the arguments behind it."""
        if ctx.resilient_parsing or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        group = _path(ctx)
        if self.get_command(ctx, args[0]) is None:
            raise unknown_command(args[0], group, command_paths(ctx.find_root().command, ctx))
        arguments, told = with_new_names(f"{group} {args[0]}".strip(), args[1:])
        for note in told:
            say_aside("note", note)
        return super().resolve_command(ctx, [args[0], *arguments])


def _path(ctx: Any) -> str:
    """A group's path without the program's name, which may have blanks: `python -m sana_wm`."""
    return "" if ctx.parent is None else f"{_path(ctx.parent)} {ctx.info_name}".strip()


class CommandsInOrder(HelpfulGroup):
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
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # rich costs 0.1 s at every start and only draws boxes
)
weights_app = typer.Typer(
    cls=HelpfulGroup, help="What weights are needed and here; download, verify.", no_args_is_help=True
)
app.add_typer(weights_app, name="weights")
patches_app = typer.Typer(cls=HelpfulGroup, help="What runs in place of library code, and why.", no_args_is_help=True)
app.add_typer(patches_app, name="patches")
camera_app = typer.Typer(
    cls=HelpfulGroup, help="Look at a camera path before hours are spent on it.", no_args_is_help=True
)
app.add_typer(camera_app, name="camera")
runs_app = typer.Typer(
    cls=HelpfulGroup, help="Which runs are there: list, compare, remove, prune.", no_args_is_help=True
)
app.add_typer(runs_app, name="runs")
queue_app = typer.Typer(
    cls=HelpfulGroup, help="Runs that wait for their turn, one after another, overnight.", no_args_is_help=True
)
app.add_typer(queue_app, name="queue")


def command_paths(command: Any, ctx: Any, path: str = "") -> list[str]:
    """All commands of a tree that are shown, such as `weights download`, groups too."""
    paths: list[str] = []
    for name in command.list_commands(ctx) if isinstance(command, TyperGroup) else ():
        below = command.commands[name]
        if not below.hidden:
            paths += [f"{path} {name}".strip(), *command_paths(below, ctx, f"{path} {name}".strip())]
    return paths


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
