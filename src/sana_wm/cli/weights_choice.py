"""Which weights a `weights` command means: its options, and the places that they and everybody else find."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.colours import say_aside
from sana_wm.cli.completion import stage_list
from sana_wm.errors import UsageError, printable
from sana_wm.names import STAGES, LayoutName, Stage, Variant
from sana_wm.pipeline import say_what_each_does

if TYPE_CHECKING:
    from sana_wm.weights.places import WeightPlaces

ALL_STAGES = ",".join(STAGES)
STAGES_HELP = f"Only what these read: {say_what_each_does()}. A draft needs stage1,vae_decode."
FOLDER_HELP = "Folder that holds one folder for each repository. [default: where run finds them, or weights]"

OfVariant = Annotated[
    Variant | None,
    typer.Option(
        "--variant", help="Which model: bidirectional (the default, 60 steps) or streaming, its 4-step student."
    ),
]
Layout = Annotated[
    LayoutName | None,
    typer.Option(
        "--layout",
        help="The files as NVIDIA released them, original, or converted for diffusers, which are smaller. "
        "[default: what is here; for a first download diffusers, with streaming original]",
    ),
]
Stages = Annotated[str, typer.Option("--stages", autocompletion=stage_list, help=STAGES_HELP)]
InFolder = Annotated[Path | None, typer.Option("--in", metavar="DIR", help=FOLDER_HELP)]
OfManifest = Annotated[
    Path | None,
    typer.Option("--manifest", metavar="MANIFEST", help="Variant, layout and folders of a manifest instead."),
]


@dataclass(frozen=True)
class ChosenPlaces:
    """The folders that a command works on.

    Attributes:
        places: The folders.
        folder: What to remember of them after a download; `None`: a manifest or a variable names them.
    """

    places: WeightPlaces
    folder: Path | None


def choose_places(
    manifest: Path | None, folder: Path | None, layout: LayoutName | None, variant: Variant | None
) -> ChosenPlaces:
    """The weights that the options name; without any those that `run` would take, said on standard error.

    Raises:
        UsageError: Options name them twice.
    """
    from sana_wm.manifest.loading import load_manifest
    from sana_wm.variants import MODELS
    from sana_wm.weights.finding import USUAL_FOLDER, find_places, layout_in
    from sana_wm.weights.places import places_in, places_of

    if manifest is not None:
        if folder is not None or layout is not None or variant is not None:
            raise UsageError("--manifest says variant, layout and folders", next_step="Leave out the other options.")
        return ChosenPlaces(places_of(load_manifest(manifest, os.environ)), None)
    model = MODELS[variant or "bidirectional"]
    if folder is not None:
        return ChosenPlaces(places_in(folder, layout or layout_in(folder, model.variant), model.variant), folder)
    found = find_places(model.variant, layout, os.environ)
    if found.source is not None and found.folder != USUAL_FOLDER.absolute():
        say_aside("note", printable(f"weights: {found.folder or found.places.root}, from {found.source}"))
    if found.gone is not None:
        say_aside(
            "warning", printable(f"{found.gone}, which was remembered, holds no weights of the {model.title} now")
        )
    return ChosenPlaces(found.places, found.folder)


def parse_stages(text: str) -> tuple[Stage, ...]:
    """The stages that `--stages` names, in their order."""
    asked = [name.strip() for name in text.split(",")]
    if unknown := sorted(set(asked) - set(STAGES)):
        raise UsageError("--stages names an unknown stage", got=", ".join(unknown), expected=ALL_STAGES)
    return tuple(stage for stage in STAGES if stage in asked)
