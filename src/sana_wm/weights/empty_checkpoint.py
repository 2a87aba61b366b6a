"""The released model without its numbers: real names, shapes and sizes, in files that are one hole each.

It loads, computes and takes memory like the released one, needs no download and almost no disk, and makes grey frames.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel

from sana_wm.errors import UsageError
from sana_wm.names import Variant
from sana_wm.weights.layout import EMPTY_MARKER, WeightLayout, resolve_layout
from sana_wm.weights.tables import TABLES, Shape, expected_tensors

#: What the released config.json files say beyond the classes' defaults, as far as it decides sizes.
RELEASED: dict[str, dict[str, Any]] = {
    "transformer": {},
    "vae": {"decoder_causal": False, "decoder_spatial_padding_mode": "reflect"},
    "refiner_transformer": {"rope_type": "split"},
    "connectors": {"rope_type": "split"},
    "stage1_text_encoder": {},
    "refiner_text_encoder": {
        "vocab_size": 262208,
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_attention_heads": 16,
        "num_hidden_layers": 48,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "sliding_window": 1024,
    },
}
#: The same by model: they have the same sizes, but for the decoder's padding in time.
RELEASED_OF: dict[Variant, dict[str, dict[str, Any]]] = {
    "bidirectional": RELEASED,
    "streaming": {**RELEASED, "vae": {**RELEASED["vae"], "decoder_causal": True}},
}
#: What something is divided by; everything else may be zero.
ONES = ("latents_std",)
ONE_BFLOAT16 = b"\x80\x3f"
SPECIAL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>")
#: With this many Stage 1's instruction prefix has 213 tokens; Gemma's own tokenizer makes 219 of it.
CHARACTERS_PER_TOKEN = 5


def write_empty_checkpoint(
    root: Path, configs: Mapping[str, dict[str, Any]] | None = None, variant: Variant = "bidirectional"
) -> WeightLayout:
    """Write every component in bfloat16, in the diffusers layout.

    Args:
        root: Folder of the model; made if missing, files in it are overwritten.
        configs: By component, what its config.json says; of the released structure, which they are when left out.
        variant: Which released model.

    Returns:
        Where the components lie; the refiner's in `root/refiner`.

    Raises:
        UsageError: The folder holds something else.
    """
    if root.is_dir() and any(root.iterdir()) and not (root / EMPTY_MARKER).is_file():
        raise UsageError(
            f"{root} is not empty and holds no model of zeros",
            got=", ".join(sorted(path.name for path in root.iterdir())[:5]),
            expected="a new or empty folder",
            next_step="Choose another folder: what is in this one would be overwritten.",
        )
    root.mkdir(parents=True, exist_ok=True)
    (root / EMPTY_MARKER).write_text("Names and shapes of the released model, all zeros\n")
    layout = resolve_layout("diffusers", root, variant=variant)
    configs = RELEASED_OF[variant] if configs is None else configs
    for name in TABLES:
        component = getattr(layout, name)
        shapes = expected_tensors(name, configs[name])
        if shapes is None:
            raise UsageError(
                f"the config of {name} cannot be written as zeros",
                got=configs[name],
                expected="a network of the released structure",
                next_step="Change sizes only.",
            )
        component.folder.mkdir(parents=True, exist_ok=True)
        _write_holes(component.shards[0], shapes)
        component.config.write_text(json.dumps(configs[name]) + "\n", encoding="utf-8")
    for folder in (root / "tokenizer", root / "refiner" / "tokenizer"):
        _write_tokenizer(folder)
    return resolve_layout("diffusers", root, variant=variant)


def _write_holes(path: Path, shapes: Mapping[str, Shape]) -> None:
    """A safetensors file whose data is a hole: reading it gives zeros."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    data_start = 8 + len(encoded)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.truncate(data_start + end)
        position = data_start
        for name, shape in shapes.items():
            if name.endswith(ONES):
                file.seek(position)
                file.write(ONE_BFLOAT16 * math.prod(shape))
            position += 2 * math.prod(shape)


def _write_tokenizer(folder: Path) -> None:
    """One unknown token for every few characters, `<bos>` in front."""
    vocabulary = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(rf"[\s\S]{{1,{CHARACTERS_PER_TOKEN}}}"), "isolated")
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 1_000_000,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        **{f"{token.strip('<>')}_token": token for token in SPECIAL_TOKENS},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
