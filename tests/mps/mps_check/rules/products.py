"""Rules about matrix products and attention."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from mps_check.rule import Call, Severity, describe_tensor, first_such, rule
from sana_wm.sizes import GIB

LARGE_K = 32767
ELEMENTS_LIMIT = 2**32
FLASH_HEAD_DIMS = (32, 64, 72, 80, 96, 128, 256)
# Score matrices below this are no concern: those of the text encoders are a few MiB.
SCORE_MATRIX_BYTES = 64 * 1024**2


_OPERANDS = {
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "addmm": ("mat1", "mat2"),
    "baddbmm": ("batch1", "batch2"),
    "addbmm": ("batch1", "batch2"),
}


def _product_sizes(call: Call) -> tuple[int, int, int] | None:
    """M, N and K of a matrix product."""
    if call.name == "linear":
        x, weight = call.inputs[:2]
        return x.shape[:-1].numel(), weight.shape[0], x.shape[-1]
    if call.name in _OPERANDS:
        left, right = (call.arguments[name] for name in _OPERANDS[call.name])
        return left.shape[-2], right.shape[-1], left.shape[-1]
    return None


def _large_k(call: Call, names: tuple[str, ...], within: range | None = None) -> str | None:
    sizes = _product_sizes(call) if call.name in names else None
    if sizes is None or min(sizes[:2]) < 16 or sizes[2] < LARGE_K or (within and sizes[2] not in within):
        return None
    return f"{call.name} M={sizes[0]} N={sizes[1]} K={sizes[2]}"


@rule(Severity.SILENT, "#177116, #195163, fixed by #183535", until="2.14.0")
def linear_large_k(call: Call) -> str | None:
    """Matrix products with K >= 32767 read past their operands on M1 and M2."""
    return _large_k(call, ("mm", "addmm", "linear"))


@rule(Severity.SILENT, "#183535 guards K > 32768 only", since="2.14.0")
def linear_k_at_threshold(call: Call) -> str | None:
    """Matrix products with K of 32767 or 32768 are still wrong on M1 and M2."""
    return _large_k(call, ("mm", "addmm", "linear"), range(LARGE_K, 32769))


@rule(Severity.SILENT, "#177116, #195163; fix #195012 open")
def bmm_large_k(call: Call) -> str | None:
    """Batched products with K >= 32767 read past their operands on M1 and M2."""
    return _large_k(call, ("bmm", "baddbmm", "addbmm"))


@rule(Severity.SILENT, "#197636, seen up to 2.14.0, 2.15 unknown")
def bmm_over_2_32_elements(call: Call) -> str | None:
    """A batched product reads or writes more than 2^32 elements."""
    tensors = call.inputs + call.outputs if call.name in ("bmm", "baddbmm", "addbmm") else ()
    return first_such(tensors, lambda tensor: tensor.numel() > ELEMENTS_LIMIT)


@rule(Severity.ERROR, "wheel 2.13: Output dim sizes larger than 2**32 elements for matmul not supported")
def matmul_output_over_2_32(call: Call) -> str | None:
    """A matrix product writes more than 2^32 elements."""
    outputs = call.outputs if call.name in ("mm", "addmm", "linear") else ()
    return first_such(outputs, lambda tensor: tensor.numel() > ELEMENTS_LIMIT)


@rule(Severity.SILENT, "#177474, #191835")
def conjugate_view_in_product(call: Call) -> str | None:
    """A matrix product of a conjugate view ignores the conjugation."""
    return first_such(call.inputs if _product_sizes(call) else (), lambda tensor: tensor.is_conj())


def takes_flash_path(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None) -> bool:
    """Whether torch runs attention on MPS without a score matrix.

    Up to 8 queries go to the vector kernel, more to the Metal prefill kernel; everything else to MPSGraph.
    Source: head dims from the kernel names in the metallibs of 2.13.0, 2.14.1 and 2.15.0, gates from Attention.mm.
    """
    head_dim = query.shape[-1]
    same = head_dim == value.shape[-1] and all(tensor.stride(-1) == 1 for tensor in (query, key, value))
    dtypes = (torch.float32, torch.float16, torch.bfloat16)
    mask_fits = attn_mask is None or attn_mask.dtype in (torch.bool, query.dtype)
    return same and head_dim in FLASH_HEAD_DIMS and query.dtype in dtypes and mask_fits


def _score_elements(call: Call) -> int:
    """Elements of the score matrix that an attention call makes, 0 where it makes none."""
    if call.name != "_scaled_dot_product_attention_math_for_mps":
        return 0
    query, key, value = call.inputs[:3]
    if takes_flash_path(query, key, value, call.arguments.get("attn_mask")):
        return 0
    return prod(query.shape[:-1]) * key.shape[-2]


@rule(Severity.MEMORY, "wheel 2.13-2.15: kernel names; Attention.mm")
def attention_score_matrix(call: Call) -> str | None:
    """Attention without a flash kernel makes the whole score matrix, and fp32 copies of it in MPSGraph."""
    size_bytes = _score_elements(call) * call.inputs[0].element_size() if call.inputs else 0
    if size_bytes < SCORE_MATRIX_BYTES:
        return None
    query, key = call.inputs[:2]
    return f"{describe_tensor(query)} x {key.shape[-2]} keys: {size_bytes / GIB:.2f} GiB"


@rule(Severity.SILENT, "#179592, not in 2.13-2.15")
def attention_scores_over_2_32(call: Call) -> str | None:
    """Attention scores of more than 2^32 elements give a wrong result."""
    elements = _score_elements(call)
    return f"{elements:.2e} scores" if elements > ELEMENTS_LIMIT else None
