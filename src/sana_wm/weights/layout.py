"""The released weight layouts as data: which folder holds which network, in which files, under which keys.

Nothing here opens a weight file or complains of a missing one: `weights/check.py` lists all that is wrong at once, and
`models/loading.py` raises for the file that it needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import cast

from sana_wm.errors import WeightsError
from sana_wm.names import LayoutName, Stage, Variant
from sana_wm.pipeline import PIPELINE
from sana_wm.weights.key_rules import (
    AS_STORED,
    CONNECTORS_RULES,
    GEMMA2_RULES,
    GEMMA3_RULES,
    REFINER_RULES,
    STAGE1_RULES,
    KeyRules,
)
from sana_wm.weights.reading import REPAIR, is_file, is_folder, parse_json, read_plain

DIFFUSERS_STEM = "diffusion_pytorch_model"
TRANSFORMERS_STEM = "model"
# Either is enough. Without them transformers builds an empty vocabulary and says nothing.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")


#: A file of this name says that a folder holds the released model as zeros (`sana_wm.weights.empty_checkpoint`).
EMPTY_MARKER = "EMPTY_WEIGHTS"


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
        checkpoint: The pickled training checkpoint that its shards are converted from, or None where there is none.
        same_weights: Words of its config, by entry, and the words of the class whose weights are the same.
    """

    name: str
    folder: Path
    config: Path | None
    shards: tuple[Path, ...] = ()
    index: Path | None = None
    rules: KeyRules = AS_STORED
    checkpoint: Path | None = None
    same_weights: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])


@dataclass(frozen=True)
class Folders:
    """Where the networks of one released model lie.

    Attributes:
        transformer: Folder of Stage 1 below the root.
        vae: The same of the VAE.
        refiner: The same of the refiner, where nothing else is said of it.
        refiner_text_encoder: The same of its text encoder then; `None`: within the refiner's folder.
        text_encoder: The same of Stage 1's text encoder; `None`: it is a repository of its own.
        prefers_gemma_root: Whether such a repository goes before that folder, where there are both.
        transformer_file: Stage 1's weights where they lie in a single file without a config; `None`: as diffusers lays
            them out.
        checkpoint: The training checkpoint that Stage 1's weights are converted from, if there is one.
        transformer_rules: How their stored names become the module's names.
        same_weights: As in `Component`, for Stage 1.
        has_schedulers: Whether they have folders.
    """

    transformer: str = "transformer"
    vae: str = "vae"
    refiner: str = "refiner"
    refiner_text_encoder: str | None = None
    text_encoder: str | None = None
    prefers_gemma_root: bool = False
    transformer_file: str | None = None
    checkpoint: str | None = None
    transformer_rules: KeyRules = AS_STORED
    same_weights: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    has_schedulers: bool = False


#: Upstream's words for the caching forms of parts whose weights are the same, and the words of diffusers' class.
SAME_WEIGHTS: Mapping[str, Mapping[str, str]] = {
    "ffn_type": {"CachedGLUMBConvTemp": "GLUMBConvTemp"},
    "pos_embed_type": {"casual_wan_rope": "wan_rope"},
}
FOLDERS: Mapping[tuple[Variant, LayoutName], Folders] = {
    ("bidirectional", "original"): Folders(
        transformer="dit", transformer_file="sana_wm_1600m_720p.safetensors", transformer_rules=STAGE1_RULES
    ),
    ("bidirectional", "diffusers"): Folders(text_encoder="text_encoder", has_schedulers=True),
    ("streaming", "original"): Folders(
        transformer="sana_dit",
        vae="ltx2_causal_vae",
        refiner="refiner_diffusers",
        refiner_text_encoder="gemma3_12b",
        checkpoint="model.pt",
        transformer_rules=STAGE1_RULES,
        same_weights=SAME_WEIGHTS,
    ),
    # Conversions of others: they keep upstream's names or take diffusers', and leave Gemma-2 out.
    ("streaming", "diffusers"): Folders(
        text_encoder="text_encoder",
        prefers_gemma_root=True,
        transformer_rules=STAGE1_RULES,
        same_weights=SAME_WEIGHTS,
    ),
}


@dataclass(frozen=True)
class WeightLayout:
    """Every component of the model; the schedulers exist in one layout only."""

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
    variant: Variant = "bidirectional"

    def __iter__(self) -> Iterator[Component]:
        """All components that the layout has."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Component):
                yield value

    @property
    def has_empty_weights(self) -> bool:
        """Whether its weights are holes."""
        return is_file(self.vae.folder.parent / EMPTY_MARKER)

    @property
    def is_student(self) -> bool:
        """Whether Stage 1 is one that was taught by another model."""
        return bool(self.transformer.same_weights)

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
        gemma_root: Folder of gemma-2-2b-it; needed where `root` holds none.
        refiner_root: Folder of the refiner; None means the one in `root`.
        variant: Which released model.

    Raises:
        WeightsError: A layout without Gemma-2, and no `gemma_root`.
    """
    of = FOLDERS[variant, layout]
    own_gemma = None if of.text_encoder is None else root / of.text_encoder
    gemma = gemma_root or own_gemma if of.prefers_gemma_root else own_gemma or gemma_root
    if gemma is None:
        raise WeightsError(
            f"the {layout} layout does not say where gemma-2-2b-it lies",
            expected="a folder in model.gemma_root",
            next_step="Set model.gemma_root in the manifest, or use the diffusers layout.",
        )
    refiner = refiner_root if refiner_root is not None else root / of.refiner
    refiner_gemma = refiner / "text_encoder"
    if refiner_root is None and of.refiner_text_encoder is not None:
        refiner_gemma = root / of.refiner_text_encoder
    schedulers = {
        "scheduler": _scheduler("scheduler", root / "scheduler"),
        "refiner_scheduler": _scheduler("refiner_scheduler", refiner / "scheduler"),
    }
    return WeightLayout(
        name=layout,
        variant=variant,
        stage1_text_encoder=_network("stage1_text_encoder", gemma, TRANSFORMERS_STEM, GEMMA2_RULES),
        stage1_tokenizer=_tokenizer("stage1_tokenizer", root / "tokenizer" if gemma == own_gemma else gemma, gemma),
        transformer=_transformer(of, root / of.transformer),
        vae=_network("vae", root / of.vae, DIFFUSERS_STEM),
        refiner_transformer=_network("refiner_transformer", refiner / "transformer", DIFFUSERS_STEM, REFINER_RULES),
        connectors=_network("connectors", refiner / "connectors", DIFFUSERS_STEM, CONNECTORS_RULES),
        refiner_text_encoder=_network("refiner_text_encoder", refiner_gemma, TRANSFORMERS_STEM, GEMMA3_RULES),
        refiner_tokenizer=_tokenizer("refiner_tokenizer", refiner / "tokenizer", refiner_gemma),
        **(schedulers if of.has_schedulers else {}),
    )


def student_component(folder: Path) -> Component:
    """A student's network in a folder: converted here, or by others."""
    return _transformer(FOLDERS["streaming", "diffusers"], folder)


def _transformer(of: Folders, folder: Path) -> Component:
    """The Stage 1 transformer: NVIDIA's single file has no config, every other form does."""
    if of.transformer_file is not None:
        shards = (folder / of.transformer_file,)
        return Component("transformer", folder, None, shards=shards, rules=of.transformer_rules)
    network = _network("transformer", folder, DIFFUSERS_STEM, of.transformer_rules)
    checkpoint = folder / of.checkpoint if of.checkpoint else None
    return replace(network, checkpoint=checkpoint, same_weights=of.same_weights)


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
    rules = rules or AS_STORED
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
