"""The gated delta rule over frames, in both directions, from one preparation of its state matrices.

For one head and one frame with keys K (S, D), values V (S, E), gates beta (S,) and decay g, the state M (D, E) becomes
`W M + U` with `W = g (I - K' diag(beta) K)` and `U = K' diag(beta) V` (K' is K transposed). A frame reads the state
that has passed over it forwards plus the one that arrives from the frames after it; both use the same W and U.
All keys and values come multiplied by the root of beta, so that W is one product of a matrix with itself.

Source: Yang et al., Gated Delta Networks, arXiv 2412.06464; frame-wise and bidirectional as in SANA-WM,
arXiv 2605.15178, diffusers `torch_chunk_sana_gdn`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def bmm_float32(a: Tensor, b: Tensor) -> Tensor:
    """Batched matrix product (n, i, k) @ (n, k, j) with a float32 result, whatever the operands' dtype."""
    if a.dtype == torch.float32:
        return torch.bmm(a, b)
    if a.device.type == "cuda":
        return torch.bmm(a, b, out_dtype=torch.float32)
    return torch.bmm(a.float(), b.float())


def gram(keys: Tensor) -> Tensor:
    """`K' K` of each frame, item and head: (..., S, D) -> (..., D, D), float32."""
    flat = keys.flatten(0, -3)
    return bmm_float32(flat.transpose(1, 2), flat).unflatten(0, keys.shape[:-2])


def cross(keys: Tensor, values: Tensor) -> Tensor:
    """`K' V` of each frame, item and head: (..., S, D), (..., S, E) -> (..., D, E), float32."""
    flat = bmm_float32(keys.flatten(0, -3).transpose(1, 2), values.flatten(0, -3))
    return flat.unflatten(0, keys.shape[:-2])


def read(queries: Tensor, states: Tensor) -> Tensor:
    """`Q M` of each frame, item and head: (..., S, D), (..., D, E) -> (..., S, E), float32."""
    return bmm_float32(queries.flatten(0, -3), states.flatten(0, -3)).unflatten(0, queries.shape[:-2])


def store_transition(gram_matrix: Tensor, weight: Tensor, decay: Tensor, out: Tensor) -> None:
    """Write `W = decay (I - weight K'K)` to `out`.

    Args:
        gram_matrix: (..., D, D) float32; overwritten.
        weight: (...) or a scalar tensor, float32.
        decay: (...) float32.
        out: (..., D, D) float32.
    """
    torch.mul(gram_matrix, -(decay * weight)[..., None, None], out=out)
    out.diagonal(dim1=-2, dim2=-1).add_(decay[..., None])


def scan(transitions: Tensor, updates: Tensor, initial: Tensor | None = None) -> Tensor:
    """Run the recurrence in both directions and add the two states that each frame reads.

    Args:
        transitions: (T, n, D, D) float32, W of each frame.
        updates: (T, n, D, E) float32, U of each frame; overwritten.
        initial: (n, D, E) float32, the state that arrives from earlier frames; zero when left out.

    Returns:
        (T, n, D, E) float32: the state after frame t going forwards, plus the state before frame t going backwards.
        Nothing comes back to the last frame, so its slot is the state to carry on with.
    """
    frames = transitions.shape[0]
    forward = updates.clone()
    if initial is not None:
        forward[0].baddbmm_(transitions[0], initial)
    for t in range(1, frames):
        forward[t].baddbmm_(transitions[t], forward[t - 1])
    # Going backwards, slot t becomes the state that has passed over the frames t, t+1, ...: frame t - 1 reads it.
    backward = updates
    for t in range(frames - 2, 0, -1):
        backward[t].baddbmm_(transitions[t], backward[t + 1])
    forward[:-1] += backward[1:]
    return forward
