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
from sana_wm.names import LAYOUTS, VARIANTS, LayoutName, Variant
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
        variant: Which model.
        fields: Of the manifest's `model` section: folders, or `${VARIABLE}`.
        layout: `original` or `diffusers`.
        source: Which of the places was taken, in words; `None`: none said where the model lies.
        folder: Where `weights download` would complete it; `None` where single folders were said.
        unset: Variables that `fields` name and nobody has set.
        looked: Every place that was asked before, and what it said.
    """

    variant: Variant
    fields: Mapping[str, Path | str]
    layout: LayoutName
    source: str | None
    folder: Path | None = None
    unset: tuple[str, ...] = ()
    looked: tuple[str, ...] = field(default=())

    def places(self, environ: Mapping[str, str]) -> WeightPlaces:
        """The folders themselves; what nobody names is where a download beside the model puts it."""
        folders = {
            name: Path(environ[value[2:-1]]) if isinstance(value, str) else value
            for name, value in self.fields.items()
            if not isinstance(value, str) or value[2:-1] in environ
        }
        root = folders["root"]
        gemma = folders.get("gemma_root") or (root.parent / GEMMA_FOLDER if self._needs_gemma else None)
        return WeightPlaces(self.layout, root, gemma, folders.get("refiner_root"), self.variant)

    @property
    def _needs_gemma(self) -> bool:
        of = FOLDERS[self.variant, self.layout]
        return of.text_encoder is None or of.prefers_gemma_root


@dataclass(frozen=True)
class FoundPlaces:
    """Where the weights of one model lie, or shall lie.

    Attributes:
        places: The folders.
        folder: The folder that holds them all; `None` where single folders were said.
        source: Which of the places was taken, in words; `None`: there are none yet.
        gone: The place that is remembered, where nothing is there any more: a volume that is not connected, say.
    """

    places: WeightPlaces
    folder: Path | None
    source: str | None
    gone: Path | None = None


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
    return WeightPlaces(layout, folder, _gemma_near(folder), _refiner_beside(folder, layout, variant), variant)


def _gemma_near(root: Path) -> Path | None:
    """Gemma-2 in the model's folder or beside it."""
    return next(filter(is_folder, (root / GEMMA_FOLDER, root.parent / GEMMA_FOLDER)), None)


def _refiner_beside(root: Path, layout: LayoutName, variant: Variant) -> Path | None:
    """The refiner of a model that has it in a repository of its own, where that lies beside it."""
    beside = places_in(root.parent, layout, variant).refiner_root
    has_own = is_folder(root / FOLDERS[variant, layout].refiner)
    return beside if beside is not None and is_folder(beside) and not has_own else None


def _missing_folders(places: WeightPlaces) -> int:
    return sum(not is_folder(component.folder) for component in places.layout())


def layout_in(folder: Path, variant: Variant) -> LayoutName:
    """The layout in a folder that `weights download` filled; the recommended one where there is none yet."""
    here = recognise_weights(folder, variant)
    is_filled = here is not None and here.root.absolute() != folder.absolute()
    return here.layout_name if here is not None and is_filled else MODELS[variant].layout


def find_weights(variant: Variant, said: Mapping[str, Path], environ: Mapping[str, str]) -> FoundWeights:
    """Find the weights of a model: as options say, as variables say, in `./weights`, or where they were last.

    Args:
        variant: Which.
        said: Folders that options say, by the manifest's field.
        environ: This process's environment.
    """
    variable, gemma_variable = MODEL_ROOT_VARIABLES[variant], ROOT_VARIABLES["gemma_root"]
    place = _find_place(variant, environ)
    in_place = {} if place.places is None else place.places.roots()
    root = said.get("root") or environ.get(variable)
    if root is None and place.places is not None:
        fields = {**in_place, **said}
        layout = place.places.layout_name
        return FoundWeights(variant, fields, layout, place.source, place.folder, looked=place.looked)
    usual = MODELS[variant].layout
    layout = usual if root is None else guess_layout(Path(root), usual)
    fields: dict[str, Path | str] = {"root": f"${{{variable}}}"}
    if FOLDERS[variant, layout].text_encoder is None or FOLDERS[variant, layout].prefers_gemma_root:
        near = in_place.get("gemma_root") or (None if root is None else _gemma_near(Path(root)))
        fields["gemma_root"] = near if near and gemma_variable not in environ else f"${{{gemma_variable}}}"
    if root is not None and (refiner := _refiner_beside(Path(root), layout, variant)):
        fields["refiner_root"] = refiner
    fields |= said
    unset = (name for name in (variable, gemma_variable) if f"${{{name}}}" in fields.values())
    source = "--model-root" if "root" in said else f"the variable {variable}" if root is not None else None
    missing = tuple(name for name in unset if name not in environ)
    return FoundWeights(variant, fields, layout, source, unset=missing, looked=place.looked)


def find_places(variant: Variant, layout: LayoutName | None, environ: Mapping[str, str]) -> FoundPlaces:
    """Where a model's weights lie as `find_weights` says, or where a download shall put them.

    Args:
        variant: Which model.
        layout: Which layout is asked for; `None`: the one that is here, or the recommended one.
        environ: This process's environment.
    """
    found = find_weights(variant, {}, environ)
    if found.source is not None and layout in (None, found.layout):
        return FoundPlaces(found.places(environ), found.folder, found.source)
    folder = found.folder or USUAL_FOLDER
    places = places_in(folder, layout or MODELS[variant].layout, variant)
    gone = remembered_folders(environ).get(variant) if found.source is None else None
    return FoundPlaces(places, folder, None, gone)


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
    is_usual = places.layout_name == MODELS[places.variant].layout
    layout = "" if is_usual else f" --layout {places.layout_name}"
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
    """Remember where a download goes; that it cannot be remembered costs a word the next time, not the download."""
    with contextlib.suppress(HandoffError, OSError):
        remember(folder, (variant,), environ)


def _memory_file(environ: Mapping[str, str]) -> Path:
    return settings_folder(environ) / "weights.json"
