"""`weights`: what is needed and here, download, verification; `weights tiny`, a checkpoint at tiny size."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import weights_app
from sana_wm.cli.manifest import AsJson
from sana_wm.cli.weights_choice import (
    ALL_STAGES,
    InFolder,
    Layout,
    OfManifest,
    OfVariant,
    Stages,
    choose_places,
    parse_stages,
)
from sana_wm.errors import (
    DownloadError,
    IncompleteWeightsError,
    InterruptedRunError,
    Problem,
    ProblemListError,
    UsageError,
    printable,
)
from sana_wm.names import LayoutName, Stage, Variant

if TYPE_CHECKING:
    from sana_wm.cli.transfer_view import OpenTransferView
    from sana_wm.weights.download import DownloadPlan
    from sana_wm.weights.places import WeightPlaces


@weights_app.command("list")
def list_command(
    variant: OfVariant = None,
    layout: Layout = None,
    stages: Stages = ALL_STAGES,
    folder: InFolder = None,
    manifest: OfManifest = None,
    as_json: AsJson = False,
) -> None:
    """Say which stage needs which files, how large they are, under which licence, and what is here. Asks nobody."""
    from sana_wm.cli.weights_text import print_layouts, print_rows
    from sana_wm.weights.inventory import list_weights

    places, chosen = choose_places(manifest, folder, layout, variant).places, parse_stages(stages)
    rows = list_weights(places, chosen)
    if as_json:
        content = [{**asdict(row), "folder": str(row.folder)} for row in rows]
        kind = {"variant": places.variant, "layout": places.layout_name}
        typer.echo(json.dumps({**kind, "files": content}, indent=2))
    else:
        print_rows(rows, chosen)
        if manifest is None:
            print_layouts(places.variant)


@weights_app.command("download")
def download(
    variant: OfVariant = None,
    layout: Layout = None,
    stages: Stages = ALL_STAGES,
    to: InFolder = None,
    manifest: OfManifest = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            "--reuse",
            metavar="DIR",
            help="Look here, too, for files that need not be fetched; more than once for several.",
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Hash every file that is here; fetch anew what is not the hub's."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched; change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Download what the stages read, or the rest of it, and check it. Interrupted, it goes on where it stopped.

    Without options it is the bidirectional model converted for diffusers: about 83 GB, the refiner's 65 among them, and
    no terms to accept first. --layout original is NVIDIA's own repository, 108 GB. docs/weights.md has both in a table.
    """
    choice, chosen = choose_places(manifest, to, layout, variant), parse_stages(stages)
    places = choice.places
    with _problems_as_json(as_json):
        plan = _download(places, chosen, replace=replace, dry_run=dry_run, reuse=reuse or [])
    if choice.folder is not None and not dry_run:
        from sana_wm.weights.finding import remember_download

        remember_download(choice.folder, os.environ, places.variant)
    if as_json:
        from sana_wm.cli.weights_text import describe_plan

        typer.echo(json.dumps(describe_plan(places, plan, dry_run=dry_run), indent=2))
    elif not dry_run:
        typer.echo(json.dumps({"model": places.as_manifest_section()}, indent=2))


@weights_app.command("verify")
def verify(
    variant: OfVariant = None,
    layout: Layout = None,
    stages: Stages = ALL_STAGES,
    folder: InFolder = None,
    manifest: OfManifest = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="No hashes: headers, names, shapes, samples and sizes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the weights file by file: headers, shapes, samples, and every byte against the hub's hash where known."""
    from sana_wm.cli.transfer_view import make_transfer_view
    from sana_wm.cli.weights_text import print_reports
    from sana_wm.weights.student import describe_student
    from sana_wm.weights.verification import verify_weights

    places, chosen = choose_places(manifest, folder, layout, variant).places, parse_stages(stages)
    with _stopped_by_hand("the verification was stopped", "Nothing was changed."), make_transfer_view() as view:
        reports, problems = verify_weights(places, chosen, view, hashes=not quick)
    if as_json:
        content = [report.as_json() for report in reports]
        listed = [problem.as_json() for problem in problems]
        is_proven = all(report.is_proven for report in reports)
        verdict = False if problems else True if is_proven else None  # null: nothing wrong was seen, not all was proven
        said = () if problems else describe_student(places.layout())
        typer.echo(json.dumps({"ok": verdict, "files": content, "problems": listed, "found": said}, indent=2))
        if problems:
            raise typer.Exit(IncompleteWeightsError.exit_code)
        return
    print_reports(reports)
    if problems:
        raise IncompleteWeightsError(problems)
    for sentence in describe_student(places.layout()):
        typer.echo(printable(sentence))


@weights_app.command("convert")
def convert(
    checkpoint: Annotated[
        Path | None, typer.Argument(metavar="[CHECKPOINT]", help="Instead of the one among the weights.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write; beside it by default.")] = None,
    folder: InFolder = None,
    manifest: OfManifest = None,
) -> None:
    """Write the student's weights out of its training checkpoint, once; `download` has done so already."""
    from sana_wm.cli.transfer_view import make_transfer_view
    from sana_wm.cli.weights_conversion import convert_student
    from sana_wm.weights.student import describe_student

    if checkpoint is not None:
        if folder is not None or manifest is not None:
            raise UsageError("the checkpoint is named already", next_step="Leave out --in and --manifest.")
        from sana_wm.modules import run_module

        run_module("sana_wm.weights", ["convert", str(checkpoint), "--out", str(out or checkpoint.parent)])
        return
    if out is not None:
        raise UsageError("--out goes with a checkpoint", next_step="Name the checkpoint, or leave out --out.")
    places = choose_places(manifest, folder, None, None if manifest else "streaming").places
    with _stopped_by_hand("the conversion was stopped", "Nothing is taken for whole."), make_transfer_view() as view:
        convert_student(places, view)
        for sentence in describe_student(places.layout()):
            view.say(sentence)


@weights_app.command("quantize")
def quantize(
    variant: OfVariant = None,
    layout: Layout = None,
    folder: InFolder = None,
    manifest: OfManifest = None,
) -> None:
    """Write the refiner and its text encoder in 8 bits, beside their files; a run that wants them does so itself."""
    from sana_wm.modules import run_module

    section = choose_places(manifest, folder, layout, variant).places.as_manifest_section()
    with _stopped_by_hand("the rounding to 8 bits was stopped", "What is done stays; the next start makes the rest."):
        run_module("sana_wm.weights", ["quantize", json.dumps(section)])


@weights_app.command("tiny")
def tiny(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; must be new or empty.")],
    layout: Annotated[LayoutName, typer.Option("--layout", help="original or diffusers.")] = "original",
    variant: Annotated[Variant, typer.Option("--variant", help="bidirectional or streaming.")] = "bidirectional",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random weights.")] = 0,
) -> None:
    """Write a tiny checkpoint with random weights: it runs everywhere and makes a meaningless video."""
    from sana_wm.modules import run_module

    arguments = ["tiny", "--layout", layout, "--variant", variant, "--out", str(out), "--seed", str(seed)]
    typer.echo(run_module("sana_wm.weights", arguments, quiet=True), nl=False)


def _download(
    places: WeightPlaces, stages: tuple[Stage, ...], *, replace: bool, dry_run: bool, reuse: list[Path]
) -> DownloadPlan:
    """Plan, say the plan, fetch, convert, check."""
    import tempfile

    from huggingface_hub.constants import HF_HUB_OFFLINE

    from sana_wm.cli.transfer_view import make_transfer_view
    from sana_wm.cli.weights_conversion import convert_student
    from sana_wm.cli.weights_text import say_plan
    from sana_wm.launcher.power import keep_awake_command, kept_awake
    from sana_wm.weights.check import check_layout
    from sana_wm.weights.download import DownloadPlan, plan_download, run_download
    from sana_wm.weights.hub import Hub
    from sana_wm.weights.places import places_in
    from sana_wm.weights.retries import GO_ON
    from sana_wm.weights.student import describe_student

    with (
        _stopped_by_hand("the download was stopped", GO_ON),
        make_transfer_view() as view,
        tempfile.TemporaryDirectory() as scratch,
        kept_awake(keep_awake_command(os.getpid()), view.say),
    ):
        if HF_HUB_OFFLINE:
            _require_all_here(places, stages, view)
            return DownloadPlan((), ())
        hub = Hub(view.say)
        index_places = places_in(Path(scratch), places.layout_name, places.variant) if dry_run else None
        plan = plan_download(hub, places, stages, view, replace=replace, index_places=index_places, reuse=reuse)
        say_plan(plan, view)
        if dry_run:
            return plan
        view.expect(plan.missing_bytes)
        run_download(hub, plan, view)
        view.sum_up()
        if plan.conversion_bytes:
            convert_student(places, view)
        if problems := check_layout(places.layout(), stages):
            raise IncompleteWeightsError(problems)
        for sentence in describe_student(places.layout()):
            view.say(sentence)
        view.say(f"everything that {', '.join(stages)} read{'s' if len(stages) == 1 else ''} is here, and whole")
    return plan


def _require_all_here(places: WeightPlaces, stages: tuple[Stage, ...], view: OpenTransferView) -> None:
    from sana_wm.weights.verification import verify_weights

    _, problems = verify_weights(places, stages, view, hashes=False)
    if problems:
        raise DownloadError(
            [
                Problem(
                    "HF_HUB_OFFLINE",
                    "offline mode forbids asking the hub for what is missing",
                    next_step="Unset it (and TRANSFORMERS_OFFLINE), or copy the files from another machine.",
                ),
                *problems,
            ]
        )
    view.say("offline mode: the hub was not asked; everything is here already")


@contextlib.contextmanager
def _problems_as_json(as_json: bool) -> Generator[None]:
    """Turn a list of problems into JSON and its exit code, where JSON was asked for."""
    try:
        yield
    except ProblemListError as error:
        if not as_json:
            raise
        typer.echo(json.dumps({"ok": False, "problems": [problem.as_json() for problem in error.problems]}, indent=2))
        raise typer.Exit(error.exit_code) from error


@contextlib.contextmanager
def _stopped_by_hand(what: str, next_step: str) -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        raise InterruptedRunError(what, next_step=next_step) from error
