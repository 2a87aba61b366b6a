from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_wm.camera.conditioning import CameraConditioning, condition_camera
from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.intrinsics import crop_geometry, crop_intrinsics, read_intrinsics
from sana_wm.camera.poses.reading import load_poses

VAE_STRIDE = (8, 32, 32)


@pytest.mark.parametrize("index", [0, 1])
def test_raymap_and_plucker_are_upstreams(golden: Path, index: int) -> None:
    reference = np.load(golden / f"camera_pack_{index}.npz")
    height, width = reference["target_size"].tolist()
    ours = condition_camera(reference["c2w"], reference["intrinsics"], height=height, width=width)
    np.testing.assert_allclose(ours.raymap, reference["raymap"], rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(ours.chunk_plucker, reference["chunk_plucker"], rtol=1e-6, atol=1e-5)


def demo_camera(demo: Path, name: str, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    with Image.open(demo / f"{name}.png") as image:
        geometry = crop_geometry(image.size, height=704, width=1280)
    intrinsics = read_intrinsics(demo / f"{name}_intrinsics.npy", num_frames)
    c2w = load_poses(demo / f"{name}_pose.npy").first(num_frames).c2w
    return c2w, crop_intrinsics(intrinsics, geometry)


def diffusers_ucpe(raymap: np.ndarray, height: int, width: int) -> dict[str, np.ndarray]:
    """diffusers' own ray matrices, in float64."""
    import torch
    from diffusers.models.transformers import transformer_sana_wm

    conditions = torch.from_numpy(raymap).double()[None]
    grid = (len(raymap), height, width)
    P, _ = transformer_sana_wm._process_camera_conditions_ucpe(conditions, 1, grid, (1, 1, 1))
    P = P.reshape(-1, 4, 4)
    return {"P": P.numpy(), "P_inv": transformer_sana_wm._invert_SE3(P).numpy()}


def assert_equals_diffusers(ours: CameraConditioning, c2w: np.ndarray, intrinsics: np.ndarray, size: tuple) -> None:
    from diffusers.pipelines.sana_wm.cam_utils import prepare_camera

    theirs = {
        name: tensor.numpy()
        for name, tensor in prepare_camera(c2w, intrinsics, target_size=size, vae_stride=VAE_STRIDE).items()
    }
    theirs |= diffusers_ucpe(theirs["raymap"], size[0] // 32, size[1] // 32)
    for name, reference in theirs.items():
        tensor = getattr(ours, name)
        assert tensor.dtype == np.float32
        assert tensor.shape == reference.shape
        # diffusers packs the raymap in float32: a position 16 units away is good to 1e-6 of that.
        np.testing.assert_allclose(tensor, reference, rtol=1e-6, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("name", "num_frames"), [("demo_0", 321), ("demo_1", 321), ("demo_1", 9)])
def test_real_paths_give_what_diffusers_computes(demo: Path, name: str, num_frames: int) -> None:
    c2w, intrinsics = demo_camera(demo, name, num_frames)
    ours = condition_camera(c2w, intrinsics, height=704, width=1280)
    assert_equals_diffusers(ours, c2w, intrinsics, (704, 1280))


def test_zoom_pitch_and_a_start_elsewhere_give_what_diffusers_computes() -> None:
    c2w = action_trajectory("wi-20,dl-20,sk-24").c2w[7:]
    intrinsics = np.linspace([300, 310, 150, 100], [420, 400, 170, 90], len(c2w)).astype(np.float32)
    ours = condition_camera(c2w[:57], intrinsics[:57], height=192, width=320)
    assert_equals_diffusers(ours, c2w[:57], intrinsics[:57], (192, 320))


def test_ray_matrices_are_inverse_and_turn_the_ray_to_z(demo: Path) -> None:
    c2w, intrinsics = demo_camera(demo, "demo_0", 321)
    ours = condition_camera(c2w, intrinsics, height=704, width=1280)
    assert ours.P.shape == (41 * 22 * 40, 4, 4)
    products = ours.P.astype(np.float64) @ ours.P_inv
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(4), products.shape), rtol=0, atol=5e-6)
    # Video frame 8k is the last of chunk k, except in chunk 0: its direction is the token's ray.
    rays = ours.chunk_plucker[42:45, 1:].reshape(3, -1).T
    np.testing.assert_allclose(ours.P_inv[22 * 40 :, :3, 2], rays, rtol=0, atol=1e-6)


def test_tokens_of_a_latent_frame_share_the_camera_position() -> None:
    c2w = action_trajectory("w-16").c2w
    intrinsics = read_intrinsics([100, 100, 64, 32], 17)
    ours = condition_camera(c2w, intrinsics, height=64, width=128)
    np.testing.assert_allclose(
        ours.P_inv[:, 2, 3].reshape(3, 8), np.repeat([[0.0], [0.4], [0.8]], 8, axis=1), atol=1e-5
    )


def test_the_first_pose_becomes_the_identity_exactly_though_it_was_rounded() -> None:
    c2w = action_trajectory("wil-20").c2w[12:21].round(3)
    ours = condition_camera(c2w, read_intrinsics([100, 100, 64, 32], 9), height=64, width=128)
    np.testing.assert_array_equal(ours.raymap[0, :16].reshape(4, 4), np.eye(4))
