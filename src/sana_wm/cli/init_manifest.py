"""`init-manifest`: a manifest from a picture and a prompt, or from a video or run that is there."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from sana_wm.cli.app import app
from sana_wm.cli.camera import MoveOption, known_dialect
from sana_wm.cli.output import refuse_to_overwrite
from sana_wm.errors import UsageError, printable


@app.command("init-manifest")
def init_manifest(
    image: Annotated[Path | None, typer.Argument(metavar="IMAGE", help="First frame.")] = None,
    *,
    prompt: Annotated[str | None, typer.Option("--prompt", help="What the video shows.")] = None,
    prompt_file: Annotated[Path | None, typer.Option("--prompt-file", help="Text file with the prompt.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="draft (25 frames, 4 steps; default), standard (161, 30), author-defaults (321, 60); "
            "of the streaming model: streaming-draft (49), streaming (313).",
        ),
    ] = None,
    action: Annotated[str | None, typer.Option("--action", help="Action string, such as w-80,jw-40.")] = None,
    move: MoveOption = None,
    dialect: Annotated[str | None, typer.Option("--dialect", help="Of --action: pr379 (default) or smoothed.")] = None,
    poses: Annotated[
        Path | None, typer.Option("--poses", help="Poses file of any known format, instead of --action.")
    ] = None,
    intrinsics: Annotated[
        str | None, typer.Option("--intrinsics", help="fx,fy,cx,cy in pixels of the picture, or a .npy.")
    ] = None,
    fov_deg: Annotated[
        float | None, typer.Option("--fov-deg", min=1, max=179, help="What the picture shows from left to right.")
    ] = None,
    model_root: Annotated[Path | None, typer.Option("--model-root", help="Folder of the SANA-WM weights.")] = None,
    gemma_root: Annotated[Path | None, typer.Option("--gemma-root", help="Folder of gemma-2-2b-it.")] = None,
    refiner_root: Annotated[Path | None, typer.Option("--refiner-root", help="Folder of the refiner.")] = None,
    depth_pro_root: Annotated[Path | None, typer.Option("--depth-pro-root", help="Folder of Depth Pro.")] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Run directory; runs/NAME if left out.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="VIDEO|RUN_DIR", help="The manifest that made this; IMAGE replaces."),
    ] = None,
    template: Annotated[
        str | None, typer.Option("--template", metavar="NAME", help="Write this ready-made manifest as it is.")
    ] = None,
    list_templates: Annotated[
        bool, typer.Option("--list-templates", help="Say which ready-made manifests there are.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("manifest.json"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite.")] = False,
) -> None:
    """Write a manifest for a picture and a prompt; a ready-made one; or again the one that made a video."""
    from sana_wm.drafting.new_manifest import Draft, draft_manifest, write_manifest

    if list_templates:
        _print_templates()
        return
    refuse_to_overwrite(out, force=force)
    of_the_picture = {
        "--prompt": prompt,
        "--prompt-file": prompt_file,
        "--preset": preset,
        "--action": action,
        "--move": move,
        "--dialect": dialect,
        "--poses": poses,
    }
    of_the_lens = {"--intrinsics": intrinsics, "--fov-deg": fov_deg}
    given = {
        "root": model_root,
        "gemma_root": gemma_root,
        "refiner_root": refiner_root,
        "depth_pro_root": depth_pro_root,
    }
    roots = {name: path for name, path in given.items() if path is not None}
    _refuse_both(*of_the_lens.items())
    if template is not None:
        others = {
            **of_the_picture,
            **of_the_lens,
            "IMAGE": image,
            "--from": source,
            "--output-dir": output_dir,
            **roots,
        }
        _refuse_beside("--template", others, "--template alone")
        _write_template(template, out)
        return
    if source is not None:
        _refuse_beside("--from", of_the_picture, "--from with IMAGE, its --intrinsics or --fov-deg, and folders")
        data, notes = _from_run(source, image, roots, output_dir, (_parse_intrinsics(intrinsics), fov_deg), out.parent)
    else:
        _refuse_both(("--action", action), ("--poses", poses))
        _refuse_both(("--dialect", dialect), ("--poses", poses))
        for option, value in (("--action", action), ("--poses", poses), ("--dialect", dialect)):
            _refuse_both(("--move", move), (option, value))
        data, notes = draft_manifest(
            Draft(
                image=_require_picture(image),
                prompt=_prompt(prompt, prompt_file),
                preset=_known_preset(preset or "draft"),
                action=action,
                move=move,
                dialect=known_dialect(dialect or "pr379", "--dialect"),
                poses=poses,
                intrinsics=_parse_intrinsics(intrinsics),
                field_of_view_deg=fov_deg,
                roots=roots,
                output_dir=output_dir,
            ),
            out.parent,
            os.environ,
        )
    write_manifest(data, out)
    _tell_written(out, notes)


def _tell_written(out: Path, notes: list[str]) -> None:
    for note in notes:
        typer.echo(printable(f"note: {note}"), err=True)
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


def _from_run(
    source: Path,
    image: Path | None,
    roots: dict[str, Path],
    output_dir: Path | None,
    lens: tuple[tuple[float, ...] | Path | None, float | None],
    folder: Path,
) -> tuple[dict[str, Any], list[str]]:
    """The manifest that makes a run's video again, for another picture or lens if one is given."""
    from sana_wm.drafting.new_manifest import ROOT_VARIABLES, choose_intrinsics

    data, picture, notes = _rerun(source, image, roots, output_dir)
    if lens != (None, None) or "intrinsics" not in data["camera"]:
        variable = ROOT_VARIABLES["depth_pro_root"]
        if data["model"].get("depth_pro_root") is None and variable in os.environ:
            data["model"]["depth_pro_root"] = f"${{{variable}}}"
        knows_depth_pro = data["model"].get("depth_pro_root") is not None
        data["camera"]["intrinsics"] = choose_intrinsics(picture, *lens, folder, notes, knows_depth_pro=knows_depth_pro)
    return data, notes


def _rerun(
    source: Path, image: Path | None, roots: dict[str, Path], output_dir: Path | None
) -> tuple[dict[str, Any], Path, list[str]]:
    """The manifest that makes a run's video again, its first frame, and what the user should be told."""
    from sana_wm.drafting.new_manifest import manifest_of_run
    from sana_wm.manifest.loading import escape_variables
    from sana_wm.manifest.portable import rerun_manifest
    from sana_wm.runs.links import changed_inputs

    manifest = manifest_of_run(source)
    data = rerun_manifest(manifest)
    data["model"] |= {name: escape_variables(str(path.absolute())) for name, path in roots.items()}
    changed = changed_inputs(manifest, image)
    notes = [
        f"{one.field}: {one.path} is {'not the file that the run used' if one.sha256 else 'not there'}"
        for one in changed
    ]
    if image is not None:
        data["input"]["image"] = escape_variables(str(image.absolute()))
        if any(one.field == "input.image" for one in changed):
            del data["camera"]["intrinsics"]  # they are of the other picture
    if output_dir is not None:
        data["output_dir"] = escape_variables(str(output_dir.absolute()))
    return data, image or Path(manifest.input.image).expanduser(), notes


def _prompt(text: str | None, file: Path | None) -> str | Path:
    _refuse_both(("--prompt", text), ("--prompt-file", file))
    prompt = text if file is None else file
    if prompt is None or not str(prompt).strip():
        raise UsageError("no prompt is given", expected="--prompt TEXT or --prompt-file FILE")
    return prompt


def _known_preset(name: str) -> str:
    from sana_wm.drafting.new_manifest import PRESETS

    if name not in PRESETS:
        raise UsageError("--preset names none", got=repr(name), expected=", ".join(PRESETS))
    return name


def _parse_intrinsics(text: str | None) -> tuple[float, ...] | Path | None:
    if text is None or text.endswith(".npy"):
        return text if text is None else Path(text)
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) != 4:
        raise UsageError("--intrinsics is not usable", got=repr(text), expected="fx,fy,cx,cy or a .npy file")
    return numbers


def _require_picture(image: Path | None) -> Path:
    if image is None:
        raise UsageError("no first frame is named", expected="IMAGE, --from or --template", next_step="Name a picture.")
    return image


def _refuse_beside(option: str, others: dict[str, Any], expected: str) -> None:
    if unfit := [name for name, value in others.items() if value is not None]:
        raise UsageError(
            f"{unfit[0]} and {option} exclude each other",
            expected=expected,
            next_step=f"Leave {unfit[0]} out, and change the manifest that is written.",
        )


def _refuse_both(first: tuple[str, object], second: tuple[str, object]) -> None:
    if first[1] is not None and second[1] is not None:
        raise UsageError(f"{first[0]} and {second[0]} exclude each other", expected="one of them")
