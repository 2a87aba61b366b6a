"""The tiny checkpoint: a complete model of a few megabytes in either layout, for the demo and for tests.

Real classes, real file formats, real tokenizers, random numbers: it proves the pipeline, not the pictures.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors.torch import save_file

from sana_wm.names import LayoutName, Variant
from sana_wm.weights.layout import DIFFUSERS_STEM, FOLDERS, TRANSFORMERS_STEM
from sana_wm.weights.places import WeightPlaces
from sana_wm.weights.tiny_models import NETWORKS, Tensors, build_network
from sana_wm.weights.tiny_streaming import write_tiny_student
from sana_wm.weights.tiny_tokenizer import write_tiny_tokenizer


def write_tiny_checkpoint(
    out: Path, layout: LayoutName, seed: int = 0, variant: Variant = "bidirectional"
) -> WeightPlaces:
    """Write every component at toy size, in float32, byte for byte the same for the same seed.

    Args:
        out: Folder to write to; made if missing, files in it are overwritten.
        layout: Which of the two released layouts; both hold the same numbers.
        seed: Seed of all numbers.
        variant: Which released model.

    Returns:
        The folders as a manifest names them; the refiner always lies where the layout has it below `out`.
    """
    folders = FOLDERS[variant, layout]
    refiner = out / folders.refiner
    refiner_text = out / folders.refiner_text_encoder if folders.refiner_text_encoder else refiner / "text_encoder"
    WRITERS[variant](out, layout, seed)
    _write_network(refiner / "transformer", "refiner_transformer", seed, shards=2)
    _write_network(refiner / "connectors", "connectors", seed)
    if layout == "original":
        gemma_root = out / "gemma-2-2b-it"
        _write_network(gemma_root, "stage1_text_encoder", seed, shards=2)
        _write_network(refiner_text, "refiner_text_encoder", seed, shards=2, rename=_older_gemma3_key)
        write_tiny_tokenizer(gemma_root)
        write_tiny_tokenizer(refiner_text)
        return WeightPlaces(layout, out, gemma_root, None, variant)

    _write_network(out / "text_encoder", "stage1_text_encoder", seed, shards=2)
    _write_network(refiner_text, "refiner_text_encoder", seed, shards=2)
    write_tiny_tokenizer(out / "tokenizer")
    write_tiny_tokenizer(refiner / "tokenizer")
    if folders.has_schedulers:
        FlowMatchEulerDiscreteScheduler(shift=9.8).save_config(out / "scheduler")
        FlowMatchEulerDiscreteScheduler(shift=1.0).save_config(refiner / "scheduler")
        _write_pipeline_indexes(out, refiner)
    return WeightPlaces(layout, out, None, refiner, variant)


def _write_bidirectional(out: Path, layout: LayoutName, seed: int) -> None:
    """Stage 1 and VAE of the 60-step model."""
    folders = FOLDERS["bidirectional", layout]
    _write_network(out / folders.vae, "vae", seed)
    if folders.transformer_file is not None:
        _write_original_transformer(out / folders.transformer / folders.transformer_file, seed)
    else:
        _write_network(out / folders.transformer, "transformer", seed)


#: Who writes Stage 1 and VAE of each model; the other parts have the same form in all.
WRITERS: dict[Variant, Callable[[Path, LayoutName, int], None]] = {
    "bidirectional": _write_bidirectional,
    "streaming": write_tiny_student,
}


def _write_network(folder: Path, name: str, seed: int, *, shards: int = 1, rename: Callable[[str], str] = str) -> None:
    """Write one network's config and weights the way its library's `save_pretrained` lays them out."""
    module, tensors = build_network(NETWORKS[name], seed)
    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(module, "save_config"):
        module.save_config(folder)
        stem = DIFFUSERS_STEM
    else:
        module.config.architectures = [type(module).__name__]
        module.config.save_pretrained(folder)
        stem = TRANSFORMERS_STEM
    _write_shards(folder, stem, {rename(key): tensor for key, tensor in tensors.items()}, shards)


def _write_shards(folder: Path, stem: str, tensors: Tensors, shards: int) -> None:
    if shards == 1:
        save_file(tensors, folder / f"{stem}.safetensors", metadata={"format": "pt"})
        return
    total_bytes = sum(tensor.nbytes for tensor in tensors.values())
    parts: list[Tensors] = [{} for _ in range(shards)]
    written_bytes = 0
    for key, tensor in tensors.items():
        parts[written_bytes * shards // total_bytes][key] = tensor
        written_bytes += tensor.nbytes
    weight_map: dict[str, str] = {}
    for number, part in enumerate(parts, start=1):
        file_name = f"{stem}-{number:05d}-of-{shards:05d}.safetensors"
        save_file(part, folder / file_name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file_name)
    _write_json(
        folder / f"{stem}.safetensors.index.json",
        {"metadata": {"total_size": total_bytes}, "weight_map": weight_map},
    )


def _write_original_transformer(path: Path, seed: int) -> None:
    """Stage 1 under the keys of the released file, with the two tensors that nothing reads.

    The released file has no config.json beside it: it is the class's defaults. The tiny one says its sizes in its
    safetensors metadata. That is the only entry: two would be written in an order that changes from run to run.
    """
    module, tensors = build_network(NETWORKS["transformer"], seed)
    renamed = {
        key.replace("t_embedder.linear_1.", "t_embedder.mlp.0.").replace("t_embedder.linear_2.", "t_embedder.mlp.2."): t
        for key, t in tensors.items()
    }
    renamed["pos_embed"] = torch.zeros(1, 484, module.config.hidden_size)
    renamed["y_embedder.y_embedding"] = torch.zeros(300, module.config.caption_channels)
    public = {key: value for key, value in module.config.items() if not key.startswith("_")}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(renamed, path, metadata={"config": json.dumps(public, sort_keys=True)})


def _older_gemma3_key(key: str) -> str:
    """The key that transformers before 4.52 wrote, and that hub files still have."""
    if key.startswith("model.language_model."):
        return "language_model.model." + key.removeprefix("model.language_model.")
    return key.removeprefix("model.")


def _write_pipeline_indexes(root: Path, refiner: Path) -> None:
    """`model_index.json`, so that diffusers' own pipelines open the same folders for comparison."""
    _write_json(
        root / "model_index.json",
        {
            "_class_name": "SanaWMPipeline",
            "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
            "text_encoder": ["transformers", "Gemma2ForCausalLM"],
            "tokenizer": ["transformers", "GemmaTokenizer"],
            "transformer": ["diffusers", "SanaWMTransformer3DModel"],
            "vae": ["diffusers", "AutoencoderKLLTX2Video"],
        },
    )
    _write_json(
        refiner / "model_index.json",
        {
            "_class_name": "SanaWMLTX2Refiner",
            "connectors": ["ltx2", "LTX2TextConnectors"],
            "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
            "text_encoder": ["transformers", "Gemma3ForConditionalGeneration"],
            "text_max_sequence_length": 1024,
            "tokenizer": ["transformers", "GemmaTokenizer"],
            "transformer": ["diffusers", "SanaWMLTX2RefinerTransformer3DModel"],
        },
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
