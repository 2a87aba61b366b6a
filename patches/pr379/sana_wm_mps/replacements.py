"""What of upstream and diffusers is replaced in a running process, and by what; `docs/pr379.md` of sana-wm says why.

A replacement is set as a module's global or a class's method. Nothing on disk changes.
"""

from __future__ import annotations

import importlib
from typing import Any

CAMERA_BLOCKS = "diffusion.model.nets.sana_camctrl_blocks"
GDN_BLOCKS = "diffusion.model.nets.sana_gdn_blocks"
GDN_CAMERA_BLOCKS = "diffusion.model.nets.sana_gdn_camctrl_blocks"
BLOCKS = "diffusion.model.nets.sana_blocks"
LTX2 = "diffusers.models.transformers.transformer_ltx2"
UPSTREAM_REFINER = "diffusion.refiner.diffusers_ltx2_refiner"

#: Target symbol (`module:qualified.name`) and what stands in its place.
REPLACEMENTS: dict[str, str] = {
    f"{BLOCKS}:WanRotaryPosEmbed.forward": "sana_wm_mps.rotation:rotary_forward",
    f"{GDN_BLOCKS}:_apply_rotary_emb": "sana_wm_mps.rotation:apply_rotary_emb",
    f"{CAMERA_BLOCKS}:_apply_complex_rope": "sana_wm_mps.rotation:apply_complex_rope",
    f"{CAMERA_BLOCKS}:_apply_ray_projmat": "sana_wm_mps.rotation:apply_ray_projmat",
    f"{CAMERA_BLOCKS}:_invert_SE3": "sana_wm_mps.geometry:invert_se3",
    f"{CAMERA_BLOCKS}:_process_camera_conditions_ucpe": "sana_wm_mps.geometry:process_camera_conditions",
    f"{BLOCKS}:MultiHeadCrossAttention.forward": "sana_wm_mps.softmax_attention:forward_cross_attention",
    f"{GDN_BLOCKS}:_forward_softmax_attn": "sana_wm_mps.softmax_attention:forward_softmax_attn",
    f"{GDN_CAMERA_BLOCKS}:_forward_cam_branch_softmax": "sana_wm_mps.softmax_attention:forward_cam_branch_softmax",
    "diffusion.model.nets.basic_modules:GLUMBConvTemp.forward": "sana_wm_mps.feed_forward:forward_glumbconv_temp",
    f"{BLOCKS}:PatchEmbedMS3D.forward": "sana_wm_mps.feed_forward:forward_patch_embed",
    f"{LTX2}:LTX2AudioVideoRotaryPosEmbed.forward": "sana_wm_mps.refiner:transformer_rope_forward",
    "diffusers.pipelines.ltx2.connectors:LTX2RotaryPosEmbed1d.forward": "sana_wm_mps.refiner:connector_rope_forward",
    "diffusers.models.attention_dispatch:dispatch_attention_fn": "sana_wm_mps.refiner:dispatch_attention",
    f"{UPSTREAM_REFINER}:DiffusersLTX2Refiner._forward_video_only": "sana_wm_mps.refiner:forward_video_only",
    f"{UPSTREAM_REFINER}:torch": "sana_wm_mps.device:TORCH",
}
#: Modules that took a replaced function in by `from ... import`, and so hold the original under its name.
IMPORTED_BY: dict[str, tuple[str, ...]] = {
    f"{CAMERA_BLOCKS}:_process_camera_conditions_ucpe": ("diffusion.model.nets.sana_multi_scale_video_camctrl",),
    f"{GDN_BLOCKS}:_forward_softmax_attn": (GDN_CAMERA_BLOCKS,),
    "diffusers.models.attention_dispatch:dispatch_attention_fn": (LTX2,),
}

_ORIGINALS: dict[str, Any] = {}


def apply_replacements() -> None:
    """Import upstream's modules and replace what MPS cannot compute. A second call changes nothing.

    Raises:
        RuntimeError: Upstream no longer has one of the symbols: the checkout is not one that this was made for.
    """
    if _ORIGINALS:
        return
    importlib.import_module("diffusion.model.nets")
    found = {target: _find(target) for target in REPLACEMENTS}
    for target, (owner, name) in found.items():
        _ORIGINALS[target] = getattr(owner, name)
        ours, ours_name = _find(REPLACEMENTS[target])
        setattr(owner, name, getattr(ours, ours_name))
        for importer in IMPORTED_BY.get(target, ()):
            module = importlib.import_module(importer)
            if getattr(module, name, None) is not _ORIGINALS[target]:
                raise RuntimeError(f"{importer} does not import {target}: {_UNKNOWN}")
            setattr(module, name, getattr(ours, ours_name))


def original(target: str) -> Any:
    """What stood in the place of a replacement."""
    return _ORIGINALS[target]


_UNKNOWN = "this checkout of NVlabs/Sana is not one that sana_wm_mps was made for (PR #379, commit e694b27)"


def _find(symbol: str) -> tuple[Any, str]:
    """The object that holds a symbol, and its name in there."""
    module, _, path = symbol.partition(":")
    *owners, name = path.split(".")
    try:
        holder: Any = importlib.import_module(module)
        for owner in owners:
            holder = getattr(holder, owner)
        getattr(holder, name)
    except (ImportError, AttributeError) as error:
        raise RuntimeError(f"{symbol} is missing ({error}): {_UNKNOWN}") from error
    return holder, name
