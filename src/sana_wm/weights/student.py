"""What the files of a student say of it, in words, and whether it is one: nobody knows before they are here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sana_wm.errors import Problem, WeightsError
from sana_wm.weights.component_config import in_words_of_the_class, read_config
from sana_wm.weights.conversion import CONVERT, Conversion, read_conversion
from sana_wm.weights.layout import SAME_WEIGHTS, Component, WeightLayout
from sana_wm.weights.neighbours import neighbours_of
from sana_wm.weights.reading import is_file
from sana_wm.weights.record import WeightRecord, read_record
from sana_wm.weights.streaming_config import parse_streaming_config

#: What of the VAE's config decides how it decodes, and what its class takes where the config is silent.
VAE_DEFAULTS: Mapping[str, Any] = {
    "decoder_causal": True,
    "encoder_spatial_padding_mode": "zeros",
    "decoder_spatial_padding_mode": "reflect",
    "decoder_inject_noise": [False, False, False, False],
    "timestep_conditioning": False,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
SAMPLING = ("chunk_size", "num_cached_blocks", "sink_token", "denoising_step_list")
#: Networks that another released model may have, too.
PERHAPS_SHARED = ("vae", "refiner_transformer", "connectors", "refiner_text_encoder")


def find_strangers(layout: WeightLayout) -> Iterator[Problem]:
    """Whether the transformer is of the model that is asked for, as far as its config and its files say."""
    transformer = layout.transformer
    checkpoint = transformer.checkpoint
    if checkpoint is not None and is_file(checkpoint) and not any(is_file(shard) for shard in transformer.shards):
        yield Problem(str(checkpoint), "this checkpoint was not converted", next_step=f"Convert it: {CONVERT}")
        return
    if transformer.config is None or not is_file(transformer.config):
        return
    config = read_config(transformer)
    if layout.is_student:
        try:
            parse_streaming_config(config)
        except WeightsError as error:
            yield Problem.of(str(transformer.config), error)
    elif "denoising_step_list" in config or in_words_of_the_class(config, SAME_WEIGHTS) != config:
        what = "these are the weights of the streaming model"
        step = 'Set model.variant to "streaming" (docs/weights.md).'
        yield Problem(str(transformer.config), what, expected=f"those of the {layout.variant} model", next_step=step)


def describe_student(layout: WeightLayout) -> tuple[str, ...]:
    """What was found out about a student, a sentence each; nothing for another model, or where files are missing.

    Raises:
        WeightsError: A config or a record cannot be read.
    """
    if not layout.is_student:
        return ()
    return tuple(
        sentence
        for sentence in (
            _describe_origin(layout.transformer),
            _describe_sampling(layout.transformer),
            _describe_vae(layout.vae),
            *_describe_shared(layout),
        )
        if sentence
    )


def _describe_origin(transformer: Component) -> str | None:
    conversion: Conversion | None = read_conversion(transformer)
    if conversion is None:
        return None
    beside = f"; beside the student it held {', '.join(conversion.found)}" if conversion.found else ""
    return (
        f"student: {conversion.tensors} tensors, all of the network's names and shapes, converted from "
        f"{conversion.source} ({conversion.source_bytes} bytes, SHA-256 {conversion.source_sha256}){beside}"
    )


def _describe_sampling(transformer: Component) -> str | None:
    if transformer.config is None or not is_file(transformer.config):
        return None
    config = read_config(transformer)
    found = parse_streaming_config(config)
    said = [name for name in SAMPLING if name in config]
    by_whom = f"its config says {', '.join(said)}" if said else "its config says nothing of it"
    rest = "" if len(said) == len(SAMPLING) else ", for the rest NVIDIA's own values are taken"
    seen = "all chunks" if found.seen_chunks < 0 else f"{found.seen_chunks} chunks"
    steps = ", ".join(map(str, found.timesteps))
    sink = "with" if found.sink else "without"
    return (
        f"sampling: {by_whom}{rest}: chunks of {found.chunk_frames} latent frames, "
        f"a window of {seen} {sink} the first, timesteps {steps}"
    )


def _describe_vae(vae: Component) -> str | None:
    if vae.config is None or not is_file(vae.config):
        return None
    config = read_config(vae)
    values = [
        f"{name} {config.get(name, default)}{'' if name in config else ' (its class; the config is silent)'}"
        for name, default in VAE_DEFAULTS.items()
    ]
    return f"VAE: {config.get('_class_name', 'no class named')}, {', '.join(values)}"


def _describe_shared(layout: WeightLayout) -> Iterator[str]:
    """Of each network that another model has, too: whether the other's files, where they are here, are the same."""
    root = layout.vae.folder.parent
    own = read_record(root)
    others = [(folder, record) for folder in neighbours_of([root]) if (record := _read_other(folder, root))]
    if own is None or not others:
        return
    elsewhere = {
        file.sha256: f"{folder.name}/{name}" for folder, record in others for name, file in record.files.items()
    }
    for name in PERHAPS_SHARED:
        component: Component = getattr(layout, name)
        hashes = [_recorded_hash(own, root, shard) for shard in component.shards if is_file(shard)]
        twins = [elsewhere[sha256] for sha256 in hashes if sha256 in elsewhere]
        if not hashes or None in hashes:
            continue
        if len(twins) == len(hashes):
            yield f"{name}: the same bytes as {', '.join(twins)}"
        else:
            yield f"{name}: {len(hashes) - len(twins)} of {len(hashes)} files are no other model's that is here"


def _read_other(folder: Path, root: Path) -> WeightRecord | None:
    return None if folder == root.absolute() else read_record(folder)


def _recorded_hash(record: WeightRecord, root: Path, shard: Path) -> str | None:
    if not shard.is_relative_to(root):
        return None
    file = record.files.get(shard.relative_to(root).as_posix())
    return None if file is None else file.sha256
