"""Where the repositories of a layout lie on disk, and which of their files lie where."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from sana_wm.manifest.model import Manifest
from sana_wm.names import LayoutName, Stage, Variant
from sana_wm.weights.facts import Repository, model_facts
from sana_wm.weights.layout import FOLDERS, WeightLayout, resolve_layout
from sana_wm.weights.reading import is_folder


@dataclass(frozen=True)
class WeightPlaces:
    """The folders of a layout.

    Attributes:
        layout_name: `original` or `diffusers`.
        root: Folder of the SANA-WM weights.
        gemma_root: Folder of gemma-2-2b-it; None where `root` holds it.
        refiner_root: Folder of the refiner; None means the one in `root`.
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
        return tuple(entry for entry in _repositories(self.variant, self.layout_name) if entry.needed_files(stages))

    def folder_of(self, repository: Repository) -> Path:
        """Where a repository's files lie, and its record with them."""
        if repository.manifest_field == "gemma_root" and self.gemma_root is not None:
            return self.gemma_root
        if repository.manifest_field == "refiner_root":
            return self.refiner_root or self.root / FOLDERS[self.variant, self.layout_name].refiner
        return self.root

    def path_of(self, repository: Repository, name: str) -> Path:
        """Where one file of a repository lies; one that holds the refiner besides may have that elsewhere."""
        path = PurePosixPath(name)
        if repository.manifest_field == "root" and self.refiner_root is not None:
            of = FOLDERS[self.variant, self.layout_name]
            if of.refiner_text_encoder is not None and path.is_relative_to(of.refiner_text_encoder):
                return self.refiner_root / "text_encoder" / path.relative_to(of.refiner_text_encoder)
            if path.is_relative_to(of.refiner):
                return self.refiner_root / path.relative_to(of.refiner)
        return self.folder_of(repository).joinpath(*path.parts)

    def roots(self) -> dict[str, Path]:
        """The folders by the manifest's field, absolute; those that are not needed are left out."""
        roots = {"root": self.root, "gemma_root": self.gemma_root, "refiner_root": self.refiner_root}
        return {field: path.absolute() for field, path in roots.items() if path is not None}

    def as_manifest_section(self) -> dict[str, str | None]:
        """The manifest's `model` section for these folders."""
        fields = dict.fromkeys(("root", "gemma_root", "refiner_root"))
        folders = fields | {field: str(path) for field, path in self.roots().items()}
        return {"variant": self.variant, "layout": self.layout_name, **folders}


def places_in(folder: Path, layout_name: LayoutName, variant: Variant = "bidirectional") -> WeightPlaces:
    """The folders that `weights download --in FOLDER` fills: one for each repository, named like it."""
    names = {entry.manifest_field: entry.repo_id.rpartition("/")[2] for entry in _repositories(variant, layout_name)}
    return WeightPlaces(layout_name, **{field: folder / name for field, name in names.items()}, variant=variant)


def places_of(manifest: Manifest) -> WeightPlaces:
    """The folders that a manifest names."""
    model = manifest.model
    gemma_root, refiner_root = (Path(path) if path else None for path in (model.gemma_root, model.refiner_root))
    return WeightPlaces(model.layout, Path(model.root), gemma_root, refiner_root, model.variant)


def _repositories(variant: Variant, layout_name: LayoutName) -> tuple[Repository, ...]:
    return model_facts().layouts[variant][layout_name]


def guess_layout(root: Path, otherwise: LayoutName = "original") -> LayoutName:
    """The layout that a folder shows, NVIDIA's where it shows none; `otherwise` where there is no folder yet."""
    if not is_folder(root):
        return otherwise
    return "diffusers" if is_folder(root / "transformer") and not is_folder(root / "dit") else "original"


def is_needed(repository: Repository, name: str, stages: Collection[Stage]) -> bool:
    """Whether a file of a repository belongs to what the stages read."""
    return any(fnmatchcase(name, entry.pattern) for entry in repository.needed_files(stages))
