"""The camera's geometry, by upstream's own functions, but in float32 on the CPU and once per camera path.

In bfloat16 the matrices of a long path are off by 0.15 in translation; computed once they cost nothing, and inverse
trigonometry and boolean indexing stay off the device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

#: By the conditions' tensor, which upstream hands from step to step and block to block; an entry goes with its tensor.
_CACHE: WeakIdKeyDictionary = WeakIdKeyDictionary()
_EXACT: list[Tensor] = []


def remember_exact(conditions: Tensor) -> None:
    """Keep the float32 camera conditions (F, 20) of which upstream is about to round a copy to its own dtype."""
    _EXACT[:] = [conditions.detach().to("cpu", torch.float32, copy=True)]


def process_camera_conditions(
    camera_conditions: Tensor, B: int, HW: tuple[int, int, int], patch_size: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """Ray transforms (B, F, H, W, 4, 4) and the absolute map (B, F, H, W, 3), float32 on the conditions' device.

    In place of `sana_camctrl_blocks._process_camera_conditions_ucpe`, with its arguments.
    """
    key = (B, tuple(HW), tuple(patch_size))
    entry = _CACHE.setdefault(camera_conditions, {})
    if key not in entry:
        from sana_wm_mps.replacements import original

        compute = original("diffusion.model.nets.sana_camctrl_blocks:_process_camera_conditions_ucpe")
        made = compute(_exact(camera_conditions), B, HW, patch_size)
        entry[key] = tuple(table.to(camera_conditions.device) for table in made)
    return entry[key]


def process_camera_conditions_raymats_only(
    camera_conditions: Tensor, B: int, HW: tuple[int, int, int], patch_size: tuple[int, int, int]
) -> Tensor:
    """The ray transforms alone: what upstream's kernel module gives the delta-net blocks."""
    return process_camera_conditions(camera_conditions, B, HW, patch_size)[0]


def _exact(conditions: Tensor) -> Tensor:
    """The conditions in float32 on the CPU: those remembered, if these are their rounded copy."""
    given = conditions.detach().to("cpu")
    for exact in _EXACT:
        if exact.shape == given.shape[1:] and torch.equal(exact.to(given.dtype).expand(given.shape), given):
            return exact.expand(given.shape)
    return given.float()


def invert_se3(transforms: Tensor) -> Tensor:
    """Inverse of rigid transforms (..., 4, 4), float32: the rotation transposed, the translation taken back."""
    rotation = transforms[..., :3, :3].float().transpose(-1, -2)
    columns = transforms[..., :3, 3].float()
    out = torch.zeros(transforms.shape, dtype=torch.float32, device=transforms.device)
    out[..., :3, :3] = rotation
    # Elementwise: a batched product of N 3x3 matrices is the slowest way to do nine multiplications.
    out[..., :3, 3] = -(rotation * columns[..., None, :]).sum(-1)
    out[..., 3, 3] = 1.0
    return out
