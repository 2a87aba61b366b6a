"""The released weight layouts as data: which folder holds which network, in which files, under which keys.

Nothing here opens a weight file or complains of a missing one: `weights/check.py` lists all that is wrong at once, and
`models/loading.py` raises for the file that it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

from sana_wm.errors import WeightsError
from sana_wm.names import LayoutName, Stage, Variant
from sana_wm.pipeline import PIPELINE
from sana_wm.weights.reading import REPAIR, is_file, is_folder, parse_json, read_plain

DIFFUSERS_STEM = "diffusion_pytorch_model"
TRANSFORMERS_STEM = "model"
# Either is enough. Without them transformers builds an empty vocabulary and says nothing.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")


#: A file of this name says that a folder holds the released model as zeros (`sana_wm.weights.empty_checkpoint`).
EMPTY_MARKER = "EMPTY_WEIGHTS"


@dataclass(frozen=True)
class KeyRules:
    """How stored tensor names become the module's names.

    Attributes:
        strip: Prefixes that some writers add; the first that fits is removed.
        skip: Beginnings of names that are known and never read.
        skip_containing: The same for any part of the name.
        replace: Pairs of beginnings, old and new.
    """

    strip: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    skip_containing: tuple[str, ...] = ()
    replace: tuple[tuple[str, str], ...] = ()

    def __call__(self, key: str) -> str | None:
        """The module's name for a stored tensor; None for one that is known and never read."""
        prefix = next((prefix for prefix in self.strip if key.startswith(prefix)), "")
        name = key.removeprefix(prefix)
        if name.startswith(self.skip) or any(part in name for part in self.skip_containing):
            return None
        for old, new in self.replace:
            if name.startswith(old):
                return new + name.removeprefix(old)
        return name


# NVlabs' own loader strips an outer `model.` too. diffusers made `pos_embed` obsolete (RoPE) and never reads the
# learned null caption: 872 stored tensors, 870 read.
STAGE1_RULES = KeyRules(
    strip=("model.",),
    skip=("pos_embed", "y_embedder.y_embedding"),
    replace=(("t_embedder.mlp.0.", "t_embedder.linear_1."), ("t_embedder.mlp.2.", "t_embedder.linear_2.")),
)
GEMMA2_RULES = KeyRules(strip=("model.",), skip=("lm_head.",))
# transformers wrote `language_model.model.*` before 4.52 and `model.language_model.*` since; the vision tower (432 M)
# is never built.
GEMMA3_RULES = KeyRules(
    strip=("model.language_model.", "language_model.model.", "language_model.", "model."),
    skip=("vision_tower.", "multi_modal_projector.", "lm_head."),
)
# The video-only forward never reads these 5.84 B of the 18.88 B parameters.
REFINER_RULES = KeyRules(skip_containing=("audio", "a2v", "v2a", "av_cross"))
CONNECTORS_RULES = KeyRules(skip=("audio_connector.",))


@dataclass(frozen=True)
class Component:
    """One network, tokenizer or scheduler on disk.

    Attributes:
        name: Its name in `WeightLayout`.
        folder: Where it lies.
        config: Its config file, or None where the layout has none (the original Stage 1 file).
        shards: Its weight files in order, each once; empty for tokenizers, schedulers and an index that cannot be
            read. A file named here need not exist; a shard that holds only what `rules` skip is not named.
        index: The `*.safetensors.index.json` that named the shards, or None for a single file.
        rules: How its stored names become the module's names.
    """

    name: str
    folder: Path
    config: Path | None
    shards: tuple[Path, ...] = ()
    index: Path | None = None
    rules: KeyRules = KeyRules()


@dataclass(frozen=True)
class Folders:
    """Where the networks of one released model lie.

    Attributes:
        transformer: Folder of Stage 1 below the root.
        vae: The same of the VAE.
        refiner: The same of the refiner, where nothing else is said of it.
        refiner_text_encoder: The same of its text encoder then; `None`: within the refiner's folder.
        transformer_file: Stage 1's weights where they lie in a single file without a config; `None`: as diffusers lays
            them out.
        transformer_rules: How their stored names become the module's names.
    """

    transformer: str = "transformer"
    vae: str = "vae"
    refiner: str = "refiner"
    refiner_text_encoder: str | None = None
    transformer_file: str | None = None
    transformer_rules: KeyRules = KeyRules()


#: Of the student, `sana_dit` is what `weights convert` leaves there; conversions of others keep upstream's names.
FOLDERS: dict[tuple[Variant, LayoutName], Folders] = {
    ("bidirectional", "original"): Folders(
        transformer="dit", transformer_file="sana_wm_1600m_720p.safetensors", transformer_rules=STAGE1_RULES
    ),
    ("bidirectional", "diffusers"): Folders(),
    ("streaming", "original"): Folders(
        transformer="sana_dit",
        vae="ltx2_causal_vae",
        refiner="refiner_diffusers",
        refiner_text_encoder="gemma3_12b",
        transformer_rules=STAGE1_RULES,
    ),
    ("streaming", "diffusers"): Folders(transformer_rules=STAGE1_RULES),
}


@dataclass(frozen=True)
class WeightLayout:
    """Every component of the model; the schedulers exist in the diffusers layout only."""

    name: LayoutName
    stage1_text_encoder: Component
    stage1_tokenizer: Component
    transformer: Component
    vae: Component
    refiner_transformer: Component
    connectors: Component
    refiner_text_encoder: Component
    refiner_tokenizer: Component
    scheduler: Component | None = None
    refiner_scheduler: Component | None = None

    def __iter__(self) -> Iterator[Component]:
        """All components that the layout has."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Component):
                yield value

    @property
    def has_empty_weights(self) -> bool:
        """Whether its weights are holes."""
        return is_file(self.vae.folder.parent / EMPTY_MARKER)

    def of_stage(self, stage: Stage) -> tuple[Component, ...]:
        """The components that a stage reads, in the order in which it reads them."""
        return tuple(cast("Component", getattr(self, name)) for name in PIPELINE[stage].components)


def resolve_layout(
    layout: LayoutName,
    root: Path,
    gemma_root: Path | None = None,
    refiner_root: Path | None = None,
    variant: Variant = "bidirectional",
) -> WeightLayout:
    """Say where every component of a layout lies.

    Args:
        layout: `original` (NVIDIA's repository) or `diffusers` (the converted one).
        root: Folder of the SANA-WM weights.
        gemma_root: Folder of gemma-2-2b-it; the original layout needs it.
        refiner_root: Folder of the refiner, its text encoder in it; None means where the layout has it below `root`.
        variant: Which released model.

    Raises:
        WeightsError: The original layout without `gemma_root`.
    """
    folders = FOLDERS[variant, layout]
    refiner = refiner_root if refiner_root is not None else root / folders.refiner
    refiner_text = refiner / "text_encoder"
    if refiner_root is None and folders.refiner_text_encoder is not None:
        refiner_text = root / folders.refiner_text_encoder
    parts = {
        "refiner_transformer": _network("refiner_transformer", refiner / "transformer", DIFFUSERS_STEM, REFINER_RULES),
        "connectors": _network("connectors", refiner / "connectors", DIFFUSERS_STEM, CONNECTORS_RULES),
        "refiner_text_encoder": _network("refiner_text_encoder", refiner_text, TRANSFORMERS_STEM, GEMMA3_RULES),
        "refiner_tokenizer": _tokenizer("refiner_tokenizer", refiner / "tokenizer", refiner_text),
        "transformer": _stage1(root / folders.transformer, folders),
        "vae": _network("vae", root / folders.vae, DIFFUSERS_STEM),
    }
    if layout == "diffusers":
        return WeightLayout(
            name=layout,
            stage1_text_encoder=_network("stage1_text_encoder", root / "text_encoder", TRANSFORMERS_STEM, GEMMA2_RULES),
            stage1_tokenizer=_tokenizer("stage1_tokenizer", root / "tokenizer", root / "text_encoder"),
            scheduler=_scheduler("scheduler", root / "scheduler"),
            refiner_scheduler=_scheduler("refiner_scheduler", refiner / "scheduler"),
            **parts,
        )
    if gemma_root is None:
        raise WeightsError(
            "the original layout does not say where gemma-2-2b-it lies",
            expected="a folder in model.gemma_root",
            next_step="Set model.gemma_root in the manifest, or use the diffusers layout.",
        )
    return WeightLayout(
        name=layout,
        stage1_text_encoder=_network("stage1_text_encoder", gemma_root, TRANSFORMERS_STEM, GEMMA2_RULES),
        stage1_tokenizer=_tokenizer("stage1_tokenizer", gemma_root, gemma_root),
        **parts,
    )


def _stage1(folder: Path, folders: Folders) -> Component:
    """The Stage 1 transformer: NVIDIA's single file has no config, every other form does."""
    if folders.transformer_file is None:
        return _network("transformer", folder, DIFFUSERS_STEM, folders.transformer_rules)
    shards = (folder / folders.transformer_file,)
    return Component("transformer", folder, None, shards=shards, rules=folders.transformer_rules)


def read_weight_map(index: Path) -> dict[str, str]:
    """Tensor name to file name, as a `*.safetensors.index.json` says.

    Raises:
        WeightsError: The file cannot be read, or is not such an index.
    """
    try:
        content: object = parse_json(read_plain(index, "the weight index"))
    except ValueError as error:
        raise WeightsError("a weight index cannot be read", got=f"{index}: {error}", next_step=REPAIR) from error
    weight_map = cast("dict[str, object]", content).get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not _is_plain_weight_map(cast("dict[object, object]", weight_map)):
        raise WeightsError(
            "a weight index has no usable weight_map",
            got=index,
            expected="tensor names to file names",
            next_step=REPAIR,
        )
    return cast("dict[str, str]", weight_map)


def _is_plain_weight_map(weight_map: dict[object, object]) -> bool:
    """Whether every value is a bare file name: an index must not lead out of its own folder."""
    return all(
        isinstance(name, str) and Path(name).name == name and name.endswith(".safetensors")
        for name in weight_map.values()
    )


def _network(name: str, folder: Path, stem: str, rules: KeyRules | None = None) -> Component:
    """A network in the Hugging Face form: config.json, and one safetensors file or shards with an index."""
    rules = rules or KeyRules()
    config = folder / "config.json"
    index = folder / f"{stem}.safetensors.index.json"
    if not is_file(index):
        return Component(name, folder, config, shards=(folder / f"{stem}.safetensors",), rules=rules)
    try:
        file_names = sorted({file_name for key, file_name in read_weight_map(index).items() if rules(key) is not None})
    except WeightsError:
        file_names = []  # check_layout reads the index again and says what is wrong with it
    return Component(
        name, folder, config, shards=tuple(folder / file_name for file_name in file_names), index=index, rules=rules
    )


def _tokenizer(name: str, folder: Path, beside: Path) -> Component:
    """A tokenizer in its own folder, or in the text encoder's folder where it has none."""
    place = folder if is_folder(folder) else beside
    return Component(name, place, place / "tokenizer_config.json")


def _scheduler(name: str, folder: Path) -> Component:
    return Component(name, folder, folder / "scheduler_config.json")
