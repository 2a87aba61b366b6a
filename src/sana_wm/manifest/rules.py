"""What fields of a manifest ask of each other; each alone is valid already."""

from __future__ import annotations

from sana_wm.backends import BACKENDS, find_backend
from sana_wm.errors import Problem
from sana_wm.manifest.model import Manifest
from sana_wm.text.characters import is_blank
from sana_wm.variants import MODELS


def find_contradictions(manifest: Manifest) -> list[Problem]:
    """Everything in a manifest that contradicts itself, one problem for each."""
    return [
        *_choose_one(manifest),
        *_check_layout(manifest),
        *_check_guidance(manifest),
        *_check_refiner(manifest),
        *MODELS[manifest.model.variant].refuse(manifest),
        *_check_backend(manifest),
    ]


def _choose_one(manifest: Manifest) -> list[Problem]:
    problems: list[Problem] = []
    for section, names in (("input", ("prompt", "prompt_file")), ("camera", ("action", "poses"))):
        given = [name for name in names if getattr(getattr(manifest, section), name) is not None]
        if len(given) != 1:
            problems.append(
                Problem(
                    section,
                    f"give exactly one of {' and '.join(names)}",
                    got="both" if given else "neither",
                    next_step=f"Leave {names[1]} out." if given else f"Add {names[0]} or {names[1]}.",
                )
            )
    camera = manifest.camera
    if camera.poses is None:
        for name in ("poses_convention", "poses_fps"):
            if getattr(camera, name) is not None:
                what = "poses_convention and poses_fps belong to poses"
                problems.append(Problem(f"camera.{name}", what, next_step="Leave it out, or name a poses file."))
        if camera.intrinsics is None:
            what = "intrinsics is missing: only a poses file can hold them"
            problems.append(Problem("camera.intrinsics", what, expected="[fx, fy, cx, cy], a file, or estimate"))
    if manifest.input.prompt is not None and is_blank(manifest.input.prompt):
        problems.append(Problem("input.prompt", "prompt is empty", expected="text", next_step="Say what is seen."))
    return problems


def _check_layout(manifest: Manifest) -> list[Problem]:
    if manifest.model.layout == "diffusers" or manifest.model.gemma_root is not None:
        return []
    return [
        Problem(
            "model.gemma_root",
            "gemma_root is needed with layout original",
            got="none",
            expected="the folder of gemma-2-2b-it",
            next_step="Add it; docs/weights.md says where it comes from.",
        )
    ]


def _check_guidance(manifest: Manifest) -> list[Problem]:
    stage1 = manifest.stage1
    without = MODELS[manifest.model.variant].is_unguided  # has no such field, and says so itself
    if stage1.guidance_until == 1 or stage1.guidance_scale > 1 or without:
        return []
    return [
        Problem(
            "stage1.guidance_until",
            "guidance_until has no guidance to end: guidance_scale 1 turns it off in every step",
            got=str(stage1.guidance_until),
            next_step="Leave it out, or raise guidance_scale.",
        )
    ]


def _check_refiner(manifest: Manifest) -> list[Problem]:
    refiner = manifest.refiner
    problems: list[Problem] = []
    if refiner.kv_max_frames <= refiner.sink_size:
        problems.append(
            Problem(
                "refiner.kv_max_frames",
                f"kv_max_frames {refiner.kv_max_frames} must exceed sink_size {refiner.sink_size}",
                next_step="Raise it: the window holds the sink and what was refined last.",
            )
        )
    if refiner.enabled and refiner.sink_size >= manifest.latent_num_frames:
        problems.append(
            Problem(
                "refiner.sink_size",
                "leaves no latent frame to refine",
                got=str(refiner.sink_size),
                expected=f"less than the video's {manifest.latent_num_frames} latent frames",
                next_step="Lower it, or make a longer video.",
            )
        )
    return problems


def _check_backend(manifest: Manifest) -> list[Problem]:
    model = manifest.model
    backend = find_backend(model.backend, model.variant)
    if backend is None:
        known = ", ".join(sorted(name for name, variant in BACKENDS if variant == model.variant))
        return [
            Problem(
                "model.backend",
                f"there is no backend {model.backend} for variant {model.variant}",
                expected=known,
                next_step="Choose one, or install the package that brings it.",
            )
        ]
    return backend.refuse(manifest)
