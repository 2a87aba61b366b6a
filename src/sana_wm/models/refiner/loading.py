"""The refiner's networks, resident or streamed: which weights are loaded at once, which are read when they come up."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

import torch
from diffusers.models.transformers.transformer_sana_wm_refiner import SanaWMLTX2RefinerTransformer3DModel
from torch import Tensor, nn
from transformers import Gemma3TextConfig, Gemma3TextModel

from sana_wm.errors import WeightsError
from sana_wm.models.loading import build_diffusers, build_network, load_weights
from sana_wm.models.refiner.stored_weights import StoredTensor, index_weights, read_rows
from sana_wm.models.refiner.streaming import BlockStream, block_weights, spread_resident
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.planning.refiner import TEXT_PARTS
from sana_wm.weights.component_config import read_config
from sana_wm.weights.layout import REPAIR, Component


@contextmanager
def open_refiner_engine(
    component: Component,
    *,
    device: torch.device,
    dtype: torch.dtype,
    resident_blocks: int,
    pin_host_memory: bool = False,
) -> Generator[RefinerEngine]:
    """An engine whose transformer keeps all blocks, or some and reads the others from disk in every pass.

    The prompt's projections are read once a prompt, when it is set, and never stay.

    Args:
        component: The transformer's files.
        device: Where it computes.
        dtype: What its weights become.
        resident_blocks: Blocks that stay on the device, as `RefinerPlan` says; all of them for the resident mode.
        pin_host_memory: Use page-locked host buffers.

    Raises:
        WeightsError: A file is missing, damaged or of another network; while streaming, file and tensor are named.
    """
    transformer = build_diffusers(SanaWMLTX2RefinerTransformer3DModel, component)
    index = index_weights(component)
    blocks = list(transformer.transformer_blocks)
    _verify_complete(transformer, index, component)
    resident = spread_resident(len(blocks), resident_blocks)
    prefixes = [f"transformer_blocks.{number}." for number in range(len(blocks))]
    streamed_prefixes = tuple(prefix for number, prefix in enumerate(prefixes) if number not in resident)

    def stays(stored: str) -> str | None:
        name = component.rules(stored)
        return None if name is None or _is_text(name) or name.startswith(streamed_prefixes) else name

    load_weights(transformer, component.shards, device=device, dtype=dtype, rename=stays, strict=False)
    text = [block_weights(index, prefix, _is_text) for prefix in prefixes]
    rest: list[dict[str, StoredTensor]] = [
        {} if number in resident else block_weights(index, prefix, lambda name: not _is_text(name))
        for number, prefix in enumerate(prefixes)
    ]

    def stream(weights: list[dict[str, StoredTensor]], *, cyclic: bool) -> BlockStream:
        return BlockStream(blocks, weights, device=device, dtype=dtype, cyclic=cyclic, pin_host_memory=pin_host_memory)

    every_pass = stream(rest, cyclic=True)
    try:
        yield RefinerEngine(transformer, blocks=every_pass, text_blocks=stream(text, cyclic=False))
    finally:
        every_pass.close()


@contextmanager
def stream_gemma3(component: Component, *, device: torch.device, dtype: torch.dtype) -> Generator[Gemma3TextModel]:
    """The refiner's text encoder with one layer on the device at a time; for one prompt, each layer is read once.

    The embedding table (2.0 GB) is never loaded: the prompt's rows are read from the file.

    Args:
        component: The text encoder's files.
        device: Where it computes.
        dtype: What its weights become.

    Raises:
        WeightsError: A file is missing, damaged or of another network; while streaming, file and tensor are named.
    """
    config = read_config(component)
    config = config.get("text_config", config)
    model = build_network(component, lambda: Gemma3TextModel(Gemma3TextConfig.from_dict(config)))
    index = index_weights(component)
    _verify_complete(model, index, component)
    embed_tokens: Any = model.embed_tokens
    model.add_module("embed_tokens", StoredEmbedding(index["embed_tokens.weight"], embed_tokens.embed_scale, dtype))

    def stays(stored: str) -> str | None:
        name = component.rules(stored)
        return None if name is None or name.startswith(("layers.", "embed_tokens.")) else name

    load_weights(model, component.shards, device=device, dtype=dtype, rename=stays, strict=False)
    layers = list(model.layers)
    weights = [block_weights(index, f"layers.{number}.") for number in range(len(layers))]
    stream = BlockStream(layers, weights, device=device, dtype=dtype, cyclic=False)
    hooks = [layer.register_forward_pre_hook(_filling(stream, number)) for number, layer in enumerate(layers)]
    try:
        yield model
    finally:
        for hook in hooks:
            hook.remove()
        stream.close()


class StoredEmbedding(nn.Module):
    """Gemma-3's scaled token embedding, with the table left in its file.

    Args:
        table: (vocabulary, C) in the file.
        embed_scale: Gemma's factor on the embeddings.
        dtype: What the rows become before they are scaled, as a loaded table would have.
    """

    def __init__(self, table: StoredTensor, embed_scale: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("embed_scale", embed_scale, persistent=False)
        self._table = table
        self._dtype = dtype

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embeddings (B, L, C) of token ids (B, L), on their device."""
        rows = read_rows(self._table, input_ids.flatten().tolist()).to(self._dtype)
        scale = cast("Tensor", self.embed_scale).to(input_ids.device, self._dtype)
        return rows.view(*input_ids.shape, -1).to(input_ids.device) * scale


def _filling(stream: BlockStream, number: int) -> Callable[[nn.Module, Any], None]:
    """A hook that fills a layer before its forward."""

    def fill(_module: nn.Module, _args: Any) -> None:
        stream.fill(number)

    return fill


def _is_text(name: str) -> bool:
    return any(part in name for part in TEXT_PARTS)


def _verify_complete(module: nn.Module, index: dict[str, StoredTensor], component: Component) -> None:
    """Refuse tensors that the network does not have and networks that the files do not fill."""
    wanted = {name for name, _ in module.named_parameters() if component.rules(name) is not None}
    odd = sorted(wanted ^ set(index))
    if odd:
        where = index[odd[0]].path if odd[0] in index else component.folder
        raise WeightsError(
            f"tensor {odd[0]} is {'not part of this network' if odd[0] in index else 'missing'}",
            got=where,
            expected=f"{len(wanted)} tensors",
            next_step=REPAIR,
        )
