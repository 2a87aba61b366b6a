"""Where the repositories of a layout lie on disk, and which of their files lie where."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from sana_wm.manifest.model import Manifest
from sana_wm.names import LayoutName, Stage, Variant
from sana_wm.weights.facts import Repository, model_facts
from sana_wm.weights.layout import WeightLayout, resolve_layout
from sana_wm.weights.reading import is_folder

#: Of the refiner in the original repository.
REFINER_FOLDER = "refiner"


@dataclass(frozen=True)
class WeightPlaces:
    """The folders of a layout.

    Attributes:
        layout_name: `original` or `diffusers`.
        root: Folder of the SANA-WM weights.
        gemma_root: Folder of gemma-2-2b-it; the original layout's only.
        refiner_root: Folder of the refiner; None means where the layout has it below `root`.
        variant: Which released model.
    """

    layout_name: LayoutName
    root: Path
    gemma_root: Path | None = None
    refiner_root: Path | None = None
    variant: Variant = "bidirectional"

    def layout(self) -> WeightLayout:
        """Every component; an index that is here already says which shards are read."""
        return resolve_layout(self.layout_name, self.root, self.gemma_root, self.refiner_root, self.variant)

    def repositories(self, stages: Collection[Stage]) -> tuple[Repository, ...]:
        """The repositories that the stages read from."""
        return tuple(entry for entry in model_facts().layouts[self.layout_name] if entry.needed_files(stages))

    def folder_of(self, repository: Repository) -> Path:
        """Where a repository's files lie, and its record with them."""
        if repository.manifest_field == "gemma_root" and self.gemma_root is not None:
            return self.gemma_root
        if repository.manifest_field == "refiner_root":
            return self.refiner_root or self.root / REFINER_FOLDER
        return self.root

    def path_of(self, repository: Repository, name: str) -> Path:
        """Where one file of a repository lies; the original repository holds the refiner, which may lie elsewhere."""
        path = PurePosixPath(name)
        if repository.manifest_field == "root" and self.refiner_root is not None and path.parts[0] == REFINER_FOLDER:
            return self.refiner_root.joinpath(*path.parts[1:])
        return self.folder_of(repository).joinpath(*path.parts)

    def as_manifest_section(self) -> dict[str, str | None]:
        """The manifest's `model` section for these folders."""
        roots = {"root": self.root, "gemma_root": self.gemma_root, "refiner_root": self.refiner_root}
        named = {"variant": self.variant, "layout": self.layout_name}
        return named | {field: path and str(path.absolute()) for field, path in roots.items()}


def places_in(folder: Path, layout_name: LayoutName) -> WeightPlaces:
    """The folders that `weights download --to FOLDER` fills: one for each repository, named like it."""
    names = {entry.manifest_field: entry.repo_id.rpartition("/")[2] for entry in model_facts().layouts[layout_name]}
    roots = {field: folder / name for field, name in names.items()}
    return WeightPlaces(layout_name, roots["root"], roots.get("gemma_root"), roots.get("refiner_root"))


def places_of(manifest: Manifest) -> WeightPlaces:
    """The folders that a manifest names."""
    model = manifest.model
    gemma_root, refiner_root = (Path(path) if path else None for path in (model.gemma_root, model.refiner_root))
    return WeightPlaces(model.layout, Path(model.root), gemma_root, refiner_root, model.variant)


def guess_layout(root: Path) -> LayoutName:
    """The layout that a folder shows; the one that NVIDIA released where it shows nothing."""
    return "diffusers" if is_folder(root / "transformer") and not is_folder(root / "dit") else "original"


def is_needed(repository: Repository, name: str, stages: Collection[Stage]) -> bool:
    """Whether a file of a repository belongs to what the stages read."""
    return any(fnmatchcase(name, entry.pattern) for entry in repository.needed_files(stages))
