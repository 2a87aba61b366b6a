"""From weight files to modules: built without memory, filled tensor by tensor, cast on the way, none read in vain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video
from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import (
    AutoTokenizer,
    Gemma2Config,
    Gemma2Model,
    Gemma3TextConfig,
    Gemma3TextModel,
    PreTrainedTokenizerBase,
)

from sana_wm.errors import WeightsError
from sana_wm.models.int8 import hold_as_stored
from sana_wm.weights.component_config import read_config
from sana_wm.weights.headers import TensorEntry, read_header
from sana_wm.weights.layout import REPAIR, TOKENIZER_FILES, Component, KeyRules, WeightLayout

M = TypeVar("M", bound=nn.Module)
VaePart = Literal["encoder", "decoder"]


def build_empty(factory: Callable[[], M]) -> M:
    """Build a module whose parameters take no memory and no time, while its computed tables are real.

    `torch.device("meta")` would also empty what no checkpoint holds and nothing restores: rotary frequencies, scaled
    embedding factors, tables kept as plain attributes. Here only `torch.empty` goes to the meta device, which is what
    layers allocate their weights with; the few parameters made otherwise (tables of a few rows) follow at the end.

    Args:
        factory: Builds the module on the CPU.

    Returns:
        The module in eval mode: parameters on meta and without gradients, buffers and plain tensors on the CPU.
    """
    with _EmptyOnMeta():
        module = factory()
    for owner in module.modules():
        for name, parameter in list(owner.named_parameters(recurse=False)):
            setattr(owner, name, nn.Parameter(parameter.to("meta"), requires_grad=False))
    return module.eval()


class _EmptyOnMeta(TorchFunctionMode):
    """Sends `torch.empty` to the meta device and leaves every other function alone."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def load_weights(
    module: nn.Module,
    shards: Sequence[Path],
    *,
    device: torch.device,
    dtype: torch.dtype,
    rename: Callable[[str], str | None] = str,
    strict: bool = True,
) -> None:
    """Fill a module's parameters and stored buffers from safetensors files, one tensor at a time.

    Beside the module there is never more than one tensor in memory. It is read, not mapped: Metal wires what it copies
    from, and would copy the pages of a mapping first. Floating tensors are cast on the CPU, so that a float32 file
    needs no float32 memory on the device. Buffers that no file holds move to the device in their own dtype.

    Args:
        module: From `build_empty`, or any module; its tensors are replaced.
        shards: The safetensors files.
        device: Where the tensors go.
        dtype: What floating tensors become.
        rename: Stored name to the module's name; None for a tensor that is known and must not be read.
        strict: Whether every tensor of the module must be in the files.

    Raises:
        WeightsError: A file is missing or truncated; a tensor is unknown, twice there, missing or of another shape.
    """
    slots = module.state_dict(keep_vars=True)
    loaded: set[str] = set()
    for shard in shards:
        entries = read_header(shard).tensors
        names = {stored: name for stored in entries if (name := rename(stored)) is not None}
        _verify_fit(shard, entries, names, slots, loaded)
        try:
            with safe_open(shard, framework="pt", device="cpu", backend="pread") as file:
                for stored, name in names.items():
                    _assign(module, name, _place(file.get_tensor(stored), device, dtype))
        except SafetensorError as error:
            raise WeightsError(f"the weight file {shard} cannot be read", got=error, next_step=REPAIR) from error
        loaded.update(names.values())
    missing = [name for name in slots if name not in loaded]
    if strict and missing:
        raise WeightsError(
            f"tensor {missing[0]} is in none of the files of {type(module).__name__}",
            got=", ".join(str(shard) for shard in shards) or "no files",
            expected=f"{len(slots)} tensors, {len(missing)} of them missing",
            next_step=REPAIR,
        )
    _move_tables(module, device)


def _place(read: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """A tensor of the file where it is needed, in torch's own memory.

    What was read begins at any address, and matrix kernels round differently by alignment: the same weights in another
    file gave other last bits.
    """
    placed = (read.to(dtype) if read.is_floating_point() else read).to(device)
    return placed.clone() if placed is read else placed


def _verify_fit(
    shard: Path, entries: dict[str, TensorEntry], names: dict[str, str], slots: dict[str, Any], loaded: set[str]
) -> None:
    """Refuse a file whose tensors do not fit the module, before any of it is read."""
    seen = set(loaded)
    for stored, name in names.items():
        if name not in slots:
            raise WeightsError(f"{shard} holds tensor {stored}, which this network does not have", next_step=REPAIR)
        if name in seen:
            raise WeightsError(f"{shard} holds tensor {stored}, which was read before", next_step=REPAIR)
        seen.add(name)
        expected = tuple(slots[name].shape)
        if entries[stored].shape != expected:
            raise WeightsError(
                f"tensor {stored} in {shard} has the wrong shape",
                got=entries[stored].shape,
                expected=expected,
                next_step="Check that the config beside the weights is the one they were released with.",
            )


def _assign(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    is_parameter = leaf in dict(owner.named_parameters(recurse=False))
    setattr(owner, leaf, nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor)


def _move_tables(module: nn.Module, device: torch.device) -> None:
    """Move the buffers that no file holds; their dtype stays, because rotary frequencies in bfloat16 are useless."""
    for owner in module.modules():
        for name, buffer in list(owner.named_buffers(recurse=False)):
            if not buffer.is_meta:
                setattr(owner, name, buffer.to(device))


def load_stage1_transformer(layout: WeightLayout, device: torch.device, dtype: torch.dtype) -> SanaWMTransformer3DModel:
    """The Stage 1 transformer.

    Raises:
        WeightsError: Its files are missing, damaged or of another network.
    """
    component = layout.transformer
    transformer = build_diffusers(SanaWMTransformer3DModel, component)
    load_weights(transformer, component.shards, device=device, dtype=dtype, rename=component.rules)
    return transformer


def load_vae(layout: WeightLayout, device: torch.device, dtype: torch.dtype, part: VaePart) -> AutoencoderKLLTX2Video:
    """One half of the VAE: the other half's attribute is None, and its tensors are never read.

    Raises:
        WeightsError: Its files are missing, damaged or of another network.
    """
    component = layout.vae
    vae = build_diffusers(AutoencoderKLLTX2Video, component)
    unused: VaePart = "decoder" if part == "encoder" else "encoder"
    setattr(vae, unused, None)
    load_weights(vae, component.shards, device=device, dtype=dtype, rename=KeyRules(skip=(f"{unused}.",)))
    return vae


def load_gemma2(
    layout: WeightLayout, device: torch.device, dtype: torch.dtype
) -> tuple[PreTrainedTokenizerBase, Gemma2Model]:
    """The Stage 1 tokenizer and text encoder.

    Its `last_hidden_state` is what `Gemma2ForCausalLM` gives as `hidden_states[-1]`; the vocabulary head is not built.

    Raises:
        WeightsError: Its files are missing, damaged or of another network.
    """
    tokenizer = load_tokenizer(layout.stage1_tokenizer)
    component = layout.stage1_text_encoder
    config = read_config(component)
    model = build_network(component, lambda: Gemma2Model(Gemma2Config.from_dict(config)))
    load_weights(model, component.shards, device=device, dtype=dtype, rename=component.rules)
    return tokenizer, model


def load_gemma3(layout: WeightLayout, device: torch.device, dtype: torch.dtype) -> Gemma3TextModel:
    """The refiner's text encoder, without the vision tower, which text never reaches.

    With `output_hidden_states=True` it gives the hidden states of `Gemma3ForConditionalGeneration`, all layers + 1.

    Raises:
        WeightsError: Its files are missing, damaged or of another network.
    """
    component = layout.refiner_text_encoder
    config = read_config(component)
    config = config.get("text_config", config)
    model = build_network(component, lambda: Gemma3TextModel(Gemma3TextConfig.from_dict(config)))
    load_weights(model, component.shards, device=device, dtype=dtype, rename=component.rules)
    return model


def load_connectors(layout: WeightLayout, device: torch.device, dtype: torch.dtype) -> LTX2TextConnectors:
    """The text connectors without the audio connector, in whose place stands an `UnusedAudioConnector`.

    Raises:
        WeightsError: Its files are missing, damaged or of another network.
    """
    component = layout.connectors
    connectors = build_diffusers(LTX2TextConnectors, component)
    connectors.add_module("audio_connector", UnusedAudioConnector())
    load_weights(connectors, component.shards, device=device, dtype=dtype, rename=component.rules)
    return connectors


class UnusedAudioConnector(nn.Module):
    """Stands where `LTX2TextConnectors.forward` calls the audio connector, whose output the refiner throws away."""

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return both arguments as they are."""
        return hidden_states, attention_mask


def build_diffusers(network_class: type[M], component: Component) -> M:
    """An empty diffusers network from its own config; `from_config` also takes configs that name a sister class.

    Raises:
        WeightsError: The config is missing or does not describe this class.
    """
    config = read_config(component)
    return build_network(component, lambda: cast("M", cast("Any", network_class).from_config(config)))


def build_network(component: Component, factory: Callable[[], M]) -> M:
    """An empty network that a component's config describes.

    Raises:
        WeightsError: The factory cannot make one of it.
    """
    try:
        network = build_empty(factory)
    except (TypeError, ValueError, KeyError) as error:
        raise WeightsError(
            f"the config of {component.name} does not describe a network",
            got=f"{component.config or component.shards[0]}: {error}",
            next_step=REPAIR,
        ) from error
    hold_as_stored(network, component)
    return network


def remove_parts(module: nn.Module, parts: tuple[str, ...]) -> None:
    """Set to None every submodule and parameter whose name contains one of the parts."""
    for owner in list(module.modules()):
        children = [name for name, _ in owner.named_children()]
        parameters = [name for name, _ in owner.named_parameters(recurse=False)]
        for name in children + parameters:
            if any(part in name for part in parts):
                setattr(owner, name, None)


def load_tokenizer(component: Component) -> PreTrainedTokenizerBase:
    """A tokenizer from its folder, offline.

    Raises:
        WeightsError: It is missing or damaged.
    """
    try:
        if not any((component.folder / name).is_file() for name in TOKENIZER_FILES):
            raise FileNotFoundError(f"no {' or '.join(TOKENIZER_FILES)}")
        return AutoTokenizer.from_pretrained(component.folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"the tokenizer of {component.name} cannot be loaded",
            got=f"{component.folder}: {error}".splitlines()[0],
            next_step=REPAIR,
        ) from error
