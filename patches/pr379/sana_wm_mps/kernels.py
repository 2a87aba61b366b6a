"""What upstream imports from its three Triton modules, in plain torch.

The recurrence keeps its state in float32. Forwards and backwards share one preparation of the state matrices, and both
states are added before the queries read them; only those matrices, D x D per frame and head, are held at full length.

Source: Yang et al., Gated Delta Networks, arXiv 2412.06464; frame-wise and bidirectional as in SANA-WM,
arXiv 2605.15178. The functions' arguments and layouts are those of their call sites in PR #379.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sana_wm_mps.chunks import chunks
from sana_wm_mps.delta_rule import cross, gram, read, scan, store_transition
from sana_wm_mps.geometry import invert_se3 as _invert_SE3
from sana_wm_mps.geometry import process_camera_conditions_raymats_only as _process_camera_conditions_raymats_only
from sana_wm_mps.rotation import angles, multiply_vectors, rotate_pairs

__all__ = [
    "_invert_SE3",
    "_prepare_ucpe_rope_tables",
    "_process_camera_conditions_raymats_only",
    "cam_prep_func",
    "cam_scan_bidi_chunkwise",
    "fused_bigdn_func",
    "fused_qk_inv_rms",
    "prepare_rope_tables",
]


def fused_qk_inv_rms(qkv: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """1 / RMS over all channels of the queries and of the keys: (B, N, 3, H, D) -> two of (B, N) float32."""
    return _inverse_rms(qkv[:, :, 0], eps), _inverse_rms(qkv[:, :, 1], eps)


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    norm = torch.linalg.vector_norm(x, dim=(-2, -1), dtype=torch.float32)
    return (norm.square() / (x.shape[-2] * x.shape[-1]) + eps).rsqrt()


def prepare_rope_tables(rotary_emb: Tensor | None, N: int, D: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine (N, D) float32 of a complex table (1, 1, N, D/2), each pair sharing its angle."""
    if rotary_emb is None:
        return torch.ones(N, D, device=device), torch.zeros(N, D, device=device)
    cos, sin = angles(rotary_emb, device)
    return cos.repeat_interleave(2, dim=-1), torch.stack((-sin, sin), dim=-1).flatten(-2)


def _prepare_ucpe_rope_tables(
    rotary_emb_cam: Tensor, N: int, D_half: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The same for the rotated half of the camera branch's heads: (N, D/2)."""
    return prepare_rope_tables(rotary_emb_cam, N, D_half, device)


def fused_bigdn_func(
    qkv: Tensor,
    q_inv_rms: Tensor,
    k_inv_rms: Tensor,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    rope_cos: Tensor,
    rope_sin: Tensor,
    beta: Tensor,
    decay: Tensor,
    F: int,
    S: int,
    k_scale: float,
    eps: float = 1e-6,
) -> Tensor:
    """The main branch: normed, rectified, rotated queries read the two-way state; unrotated ones its mass.

    Args:
        qkv: (B, N, 3, H, D), N = F S tokens, frame by frame.
        q_inv_rms: (B, N) float32; k_inv_rms the same.
        k_inv_rms: See q_inv_rms.
        q_norm_weight: (H D,) float32; k_norm_weight the same.
        k_norm_weight: See q_norm_weight.
        rope_cos: (N, D) float32 from `prepare_rope_tables`; rope_sin the same.
        rope_sin: See rope_cos.
        beta: (B, H, F, S) write gate.
        decay: (B, H, F) how much of the state a frame keeps.
        F: Frames.
        S: Tokens of a frame.
        k_scale: Factor on the keys.
        eps: Added to the mass.

    Returns:
        (B, N, H, D) in the dtype of `qkv`.
    """
    B, N, _, H, D = qkv.shape
    cos, sin = rope_cos[:, ::2].view(F, 1, 1, S, -1), rope_sin[:, 1::2].view(F, 1, 1, S, -1)
    states = _StateMatrices(F, B * H, D, D, qkv.device)
    masses = _StateMatrices(F, B * H, D, 1, qkv.device)
    weight = (k_norm_weight.view(H, D) * k_scale).contiguous()

    for frames, tokens in _frame_chunks(F, S, B * H * D):
        gates = _by_frame(beta[:, :, frames]).float()
        roots = gates.sqrt()[..., None]
        keys = _norm_and_rectify(qkv[:, tokens, 1], k_inv_rms[:, tokens], weight, S) * roots
        values = _frames_of(qkv[:, tokens, 2], S) * roots
        kept = _by_frame(decay[:, :, frames]).float()
        states.store(frames, rotate_pairs(keys, cos[frames], sin[frames]), values, kept)
        masses.store(frames, keys, roots, kept)

    state, mass = states.scan().view(F, B, H, D, D), masses.scan().view(F, B, H, D, 1)
    out = torch.empty((B, N, H, D), dtype=qkv.dtype, device=qkv.device)
    for frames, tokens in _frame_chunks(F, S, B * H * D):
        queries = _norm_and_rectify(qkv[:, tokens, 0], q_inv_rms[:, tokens], q_norm_weight.view(H, D), S)
        total = read(queries, mass[frames]).add_(eps)
        seen = read(rotate_pairs(queries, cos[frames], sin[frames]), state[frames]).div_(total)
        out[:, tokens] = seen.permute(1, 0, 3, 2, 4).reshape(B, -1, H, D)
    return out


def cam_prep_func(
    q_raw: Tensor,
    k_raw: Tensor,
    v_raw: Tensor,
    *,
    q_norm_weight: Tensor,
    k_norm_weight: Tensor,
    proj_q: Tensor,
    proj_kv: Tensor,
    rope_cos: Tensor,
    rope_sin: Tensor,
    k_scale: float,
    norm_eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The camera branch up to its scan: norm, rectify, scale the keys, then into the space of each token's ray.

    Args:
        q_raw: (B, N, H, D); k_raw (after its convolution) and v_raw the same.
        k_raw: See q_raw.
        v_raw: See q_raw.
        q_norm_weight: (H D,) float32; k_norm_weight the same.
        k_norm_weight: See q_norm_weight.
        proj_q: (B, N, 4, 4) for the first half of the queries' heads; proj_kv for keys and values.
        proj_kv: See proj_q.
        rope_cos: (N, D/2) float32 for the second half; rope_sin the same.
        rope_sin: See rope_cos.
        k_scale: Factor on the keys.
        norm_eps: Of the RMS norms.

    Returns:
        Queries, keys and values (B, H, D, N) in the dtype of the input, and (B, H, N) float32: how much longer the
        transform made each key, squared.
    """
    B, N, H, D = q_raw.shape
    shape = (B, H, D, N)
    q, k, v = (torch.empty(shape, dtype=q_raw.dtype, device=q_raw.device) for _ in range(3))
    growth = torch.empty((B, H, N), dtype=torch.float32, device=q_raw.device)
    cos, sin = rope_cos[:, None, ::2], rope_sin[:, None, 1::2]
    q_inv_rms, k_inv_rms = _inverse_rms(q_raw, norm_eps), _inverse_rms(k_raw, norm_eps)
    k_weight = k_norm_weight.view(H, D) * k_scale

    def to_rays(x: Tensor, matrices: Tensor, tokens: slice) -> Tensor:
        columns = matrices[:, tokens, None, None].float().unbind(-1)
        first, second = x[..., : D // 2], x[..., D // 2 :]
        return torch.cat((multiply_vectors(first, columns), rotate_pairs(second, cos[tokens], sin[tokens])), dim=-1)

    for tokens in chunks(N, B * H * D):
        queries = (q_raw[:, tokens].float() * q_inv_rms[:, tokens, None, None] * q_norm_weight.view(H, D)).relu_()
        keys = (k_raw[:, tokens].float() * k_inv_rms[:, tokens, None, None] * k_weight).relu_()
        moved = to_rays(keys, proj_kv, tokens)
        before, after = (x.square().sum(-1).clamp_min_(1e-12) for x in (keys, moved))
        growth[:, :, tokens] = (after / before).transpose(1, 2)
        q[..., tokens] = to_rays(queries, proj_q, tokens).permute(0, 2, 3, 1)
        k[..., tokens] = moved.permute(0, 2, 3, 1)
        v[..., tokens] = to_rays(v_raw[:, tokens], proj_kv, tokens).permute(0, 2, 3, 1)
    return q, k, v, growth


def cam_scan_bidi_chunkwise(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, decay: Tensor, *, dot_precision: int | None = None
) -> Tensor:
    """The camera branch's two-way recurrence, without a mass.

    Args:
        q: (B, H, D, N); k and v the same.
        k: See q.
        v: See q.
        beta: (B, H, F, S) write gate.
        decay: (B, H, F).
        dot_precision: What upstream's kernel would round products to; here they are float32 always.

    Returns:
        (B, H, D, N) float32.
    """
    del dot_precision
    B, H, D, _ = q.shape
    F, S = beta.shape[2:]
    states = _StateMatrices(F, B * H, D, D, q.device)
    for frames, tokens in _frame_chunks(F, S, B * H * D):
        roots = _by_frame(beta[:, :, frames]).float().sqrt()[..., None]
        keys, values = (_frames_of_channels(x[..., tokens], S) * roots for x in (k, v))
        states.store(frames, keys, values, _by_frame(decay[:, :, frames]).float())
    state = states.scan().view(F, B, H, D, D)
    out = torch.empty(q.shape, dtype=torch.float32, device=q.device)
    for frames, tokens in _frame_chunks(F, S, B * H * D):
        seen = read(_frames_of_channels(q[..., tokens], S), state[frames])
        out[..., tokens] = seen.permute(1, 2, 4, 0, 3).flatten(-2)
    return out


class _StateMatrices:
    """Transition and update of every frame, (F, n, D, D) and (F, n, D, E) float32, for n items and heads."""

    def __init__(self, frames: int, items: int, head_dim: int, width: int, device: torch.device) -> None:
        self.transitions = torch.empty((frames, items, head_dim, head_dim), device=device)
        self.updates = torch.empty((frames, items, head_dim, width), device=device)

    def store(self, frames: slice, keys: Tensor, values: Tensor, decay: Tensor) -> None:
        """Make those of some frames: keys (f, B, H, S, D), values (f, B, H, S, E), decay (f, B, H)."""
        one = torch.ones((), device=keys.device)
        store_transition(gram(keys).flatten(1, 2), one, decay.flatten(1), self.transitions[frames])
        self.updates[frames] = cross(keys, values).flatten(1, 2)

    def scan(self) -> Tensor:
        """The state that each frame reads, both directions added: (F, n, D, E)."""
        return scan(self.transitions, self.updates)


def _frame_chunks(frames: int, spatial: int, elements_per_token: int) -> Iterator[tuple[slice, slice]]:
    """A few frames at a time, and the tokens in them."""
    for part in chunks(frames, spatial * elements_per_token):
        yield part, slice(part.start * spatial, part.stop * spatial)


def _by_frame(x: Tensor) -> Tensor:
    """(B, H, f, ...) -> (f, B, H, ...)."""
    return x.permute(2, 0, 1, *range(3, x.ndim))


def _frames_of(x: Tensor, spatial: int) -> Tensor:
    """(B, f S, H, D) -> (f, B, H, S, D) float32, contiguous."""
    return x.unflatten(1, (-1, spatial)).permute(1, 0, 3, 2, 4).float().contiguous()


def _frames_of_channels(x: Tensor, spatial: int) -> Tensor:
    """(B, H, D, f S) -> (f, B, H, S, D) float32, contiguous."""
    return x.unflatten(-1, (-1, spatial)).permute(3, 0, 1, 4, 2).float().contiguous()


def _norm_and_rectify(x: Tensor, inverse_rms: Tensor, weight: Tensor, spatial: int) -> Tensor:
    """`relu(x / RMS * weight)` by frame: (B, f S, H, D), (B, f S), (H, D) -> (f, B, H, S, D) float32."""
    scale = inverse_rms.unflatten(1, (-1, spatial)).permute(1, 0, 2)[:, :, None, :, None]
    return (_frames_of(x, spatial) * scale).mul_(weight[:, None]).relu_()
