"""Where this user's weights lie: as options or variables say, in `./weights`, or where they were last."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sana_wm.durable import write_durably
from sana_wm.errors import HandoffError, WeightsError
from sana_wm.machine import settings_folder
from sana_wm.names import LAYOUTS, VARIANTS, Variant
from sana_wm.records import OpenRecord, read_record
from sana_wm.variants import MODELS
from sana_wm.weights.layout import FOLDERS
from sana_wm.weights.places import WeightPlaces, guess_layout, places_in
from sana_wm.weights.reading import is_folder

#: The variable that says where weights lie, by the manifest's field; of every model.
ROOT_VARIABLES = {
    "gemma_root": "SANA_GEMMA_2_2B_IT_ROOT",
    "depth_pro_root": "SANA_DEPTH_PRO_ROOT",
}
#: The same for the model's own, `model.root`.
MODEL_ROOT_VARIABLES: Mapping[Variant, str] = {
    "bidirectional": "SANA_WM_MODEL_ROOT",
    "streaming": "SANA_WM_STREAMING_ROOT",
}
#: Where `weights download` puts them, seen from the working folder.
USUAL_FOLDER = Path("weights")
GEMMA_FOLDER = "gemma-2-2b-it"


class RememberedWeights(OpenRecord):
    """The folders that `weights use` and `weights download` leave, absolute, by variant."""

    folders: dict[Variant, str]


@dataclass(frozen=True)
class FoundWeights:
    """Weights of one model, as far as somebody says where they are.

    Attributes:
        fields: Of the manifest's `model` section: folders, or `${VARIABLE}`.
        layout: `original` or `diffusers`.
        source: Which of the places was taken, in words; `None`: none said where the model lies.
        folder: Where `weights download` would complete it; `None` where single folders were said.
        unset: Variables that `fields` name and nobody has set.
        looked: Every place that was asked before, and what it said.
    """

    fields: Mapping[str, Path | str]
    layout: str
    source: str | None
    folder: Path | None = None
    unset: tuple[str, ...] = ()
    looked: tuple[str, ...] = field(default=())


def recognise_weights(folder: Path, variant: Variant) -> WeightPlaces | None:
    """The weights of a model in a folder that `weights download` filled, or that is its root; `None` for any other.

    Only whether folders are there is looked at: what is missing in them is for `weights/check.py` to say.
    """
    downloaded = [places_in(folder, layout, variant) for layout in LAYOUTS]
    here = [places for places in downloaded if is_folder(places.root)]
    # Of two layouts the one that is whole.
    for places in sorted(here, key=_missing_folders):
        return places
    layout = guess_layout(folder)
    of = FOLDERS[variant, layout]
    if not all(map(is_folder, (folder / of.transformer, folder / of.vae))):
        return None
    if is_folder(folder / "scheduler") != of.has_schedulers:  # another model's, in folders of the same names
        return None
    gemma = (folder / GEMMA_FOLDER, folder.parent / GEMMA_FOLDER)
    return WeightPlaces(layout, folder, next(filter(is_folder, gemma), None), variant=variant)


def _missing_folders(places: WeightPlaces) -> int:
    return sum(not is_folder(component.folder) for component in places.layout())


def find_weights(variant: Variant, said: Mapping[str, Path], environ: Mapping[str, str]) -> FoundWeights:
    """Find the weights of a model: as options say, as variables say, in `./weights`, or where they were last.

    Args:
        variant: Which.
        said: Folders that options say, by the manifest's field.
        environ: This process's environment.
    """
    variable = MODEL_ROOT_VARIABLES[variant]
    place = _find_place(variant, environ)
    in_place = {} if place.places is None else place.places.roots()
    root = said.get("root") or environ.get(variable)
    if root is None and place.places is not None:
        fields = {**in_place, **said}
        return FoundWeights(fields, place.places.layout_name, place.source, place.folder, looked=place.looked)
    layout = "original" if root is None else guess_layout(Path(root))
    fields: dict[str, Path | str] = {"root": f"${{{variable}}}"}
    gemma_variable = ROOT_VARIABLES["gemma_root"]
    if layout == "original":
        elsewhere = in_place.get("gemma_root") if gemma_variable not in environ else None
        fields["gemma_root"] = elsewhere or f"${{{gemma_variable}}}"
    fields |= said
    unset = (name for name in (variable, gemma_variable) if f"${{{name}}}" in fields.values())
    source = "--model-root" if "root" in said else f"the variable {variable}" if root is not None else None
    return FoundWeights(
        fields, layout, source, unset=tuple(name for name in unset if name not in environ), looked=place.looked
    )


@dataclass(frozen=True)
class _Place:
    """What no option and no variable says: the weights in a folder, why it was taken, where else there was nothing."""

    looked: tuple[str, ...]
    places: WeightPlaces | None = None
    folder: Path | None = None
    source: str | None = None


def _find_place(variant: Variant, environ: Mapping[str, str]) -> _Place:
    looked = [f"--model-root and {MODEL_ROOT_VARIABLES[variant]}: not set"]
    remembered = remembered_folders(environ).get(variant)
    for folder, name in ((USUAL_FOLDER, f"./{USUAL_FOLDER}"), (remembered, "the place that was remembered")):
        if folder is None:
            looked.append(f"{name}: none")
        elif (places := recognise_weights(folder, variant)) is not None:
            is_filled = places.root.absolute() != folder.absolute()
            return _Place(tuple(looked), places, folder.absolute() if is_filled else None, name)
        else:
            shown = name if folder == USUAL_FOLDER else f"{name}, {folder}"
            looked.append(f"{shown}: {'holds no such model' if is_folder(folder) else 'not there'}")
    return _Place(tuple(looked))


def remembered_folders(environ: Mapping[str, str]) -> dict[Variant, Path]:
    """The folders that are remembered."""
    record = read_record(_memory_file(environ), RememberedWeights)
    return {} if record is None else {variant: Path(folder) for variant, folder in record.folders.items()}


def require_any(folder: Path, variant: Variant | None = None) -> dict[Variant, WeightPlaces]:
    """The weights that a folder holds, by model; of one alone where `variant` says so.

    Raises:
        WeightsError: It holds none.
    """
    found: dict[Variant, WeightPlaces] = {}
    for one in VARIANTS if variant is None else (variant,):
        if (places := recognise_weights(folder, one)) is not None:
            found[one] = places
    if found:
        return found
    model = "weights of SANA-WM" if variant is None else f"weights of the {MODELS[variant].title}"
    option = "" if variant is None else f" --variant {variant}"
    raise WeightsError(
        f"{folder} holds no {model}",
        got="none of their folders" if is_folder(folder) else "no folder",
        expected="a folder that `weights download` filled, or the model's own",
        next_step=f"Name another folder, or download them: sana-wm weights download --in {shlex.quote(str(folder))}"
        f"{option}",
    )


def download_command(folder: Path | None, places: WeightPlaces) -> str:
    """The command that completes weights; `folder` as in `FoundWeights`."""
    to = "" if folder is None or folder.absolute() == USUAL_FOLDER.absolute() else f" --in {shlex.quote(str(folder))}"
    layout = "" if places.layout_name == LAYOUTS[0] else f" --layout {places.layout_name}"
    variant = "" if places.variant == VARIANTS[0] else f" --variant {places.variant}"
    return f"sana-wm weights download{variant}{layout}{to}"


def remember(folder: Path, variants: Collection[Variant], environ: Mapping[str, str]) -> None:
    """Keep a folder as the place of some models' weights.

    Raises:
        HandoffError: It cannot be written.
    """
    known = {**remembered_folders(environ), **dict.fromkeys(variants, folder.absolute())}
    folders: dict[Variant, str] = {one: str(known[one]) for one in MODELS if one in known}
    path = _memory_file(environ)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, RememberedWeights(folders=folders).model_dump_json(indent=1) + "\n")


def remember_download(folder: Path, environ: Mapping[str, str], variant: Variant) -> None:
    """Remember where a download went; that it cannot be remembered costs a word the next time, not the download."""
    with contextlib.suppress(HandoffError, OSError):
        remember(folder, (variant,), environ)


def _memory_file(environ: Mapping[str, str]) -> Path:
    return settings_folder(environ) / "weights.json"
