"""`init-manifest`: a manifest from a picture and a prompt, or from a video or run that is there."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli import completion
from sana_wm.cli.app import app
from sana_wm.cli.colours import say_aside
from sana_wm.cli.output import refuse_to_overwrite
from sana_wm.cli.video_options import takes_video_request
from sana_wm.drafting.request import VideoRequest
from sana_wm.errors import UsageError, printable

Output = Annotated[Path | None, typer.Option("--output-dir", help="Run directory; runs/NAME if left out.")]
Source = Annotated[
    Path | None,
    typer.Option("--like", metavar="VIDEO|RUN_DIR", help="The manifest that made this; the rest changes it."),
]
Template = Annotated[
    str | None,
    typer.Option(
        "--template",
        metavar="NAME",
        autocompletion=completion.templates,
        help="Write this ready-made manifest as it is.",
    ),
]
ListTemplates = Annotated[bool, typer.Option("--list-templates", help="Say which ready-made manifests there are.")]


@app.command("init-manifest")
@takes_video_request(without=("out",))
def init_manifest(
    image: Annotated[Path | None, typer.Argument(metavar="IMAGE", help="First frame.")] = None,
    *,
    output_dir: Output = None,
    source: Source = None,
    template: Template = None,
    list_templates: ListTemplates = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("manifest.json"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    said: VideoRequest,
) -> None:
    """Write a manifest for a picture and a prompt; a ready-made one; or the one that made a video, changed or not."""
    from sana_wm.drafting.changed_manifest import manifest_from_run
    from sana_wm.drafting.new_manifest import draft_manifest, write_manifest

    if list_templates:
        _print_templates()
        return
    refuse_to_overwrite(out, force=force)
    said = replace(said, image=image, out=output_dir)
    if template is not None:
        if said != VideoRequest() or source is not None:
            raise UsageError(
                "--template and what is said of a video exclude each other",
                expected="--template alone",
                next_step="Leave the rest out, and change the manifest that is written.",
            )
        _write_template(template, out)
        return
    if image is None and source is None:
        raise UsageError("no first frame is named", expected="IMAGE, --like or --template", next_step="Name a picture.")
    data, notes = (
        draft_manifest(said, out.parent, os.environ)
        if source is None
        else manifest_from_run(source, said, out.parent, os.environ)
    )
    write_manifest(data, out)
    _tell_written(out, notes)


def _tell_written(out: Path, notes: list[str]) -> None:
    for note in notes:
        say_aside("note", printable(note))
    typer.echo(printable(f"{out} is written; next: sana-wm validate-manifest {shlex.quote(str(out))}"))


def _print_templates() -> None:
    from sana_wm.manifest.templates import describe_template, template_names

    for name in template_names():
        typer.echo(f"{name:<36} {describe_template(name)}")
    typer.echo(
        "\nWrite one with: sana-wm init-manifest --template NAME. docs/manifest.md names the variables they need."
    )


def _write_template(name: str, out: Path) -> None:
    from sana_wm.manifest.templates import template_variables, write_template

    write_template(name, out)
    unset = [variable for variable in template_variables(name) if variable not in os.environ]
    _tell_written(
        out, [f"{variable} is not set: export it, or write the folder into the manifest" for variable in unset]
    )
