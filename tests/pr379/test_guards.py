"""The small parts of the patch: import guards, stand-ins, device, geometry. No checkout is needed."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch


@pytest.fixture
def upstream_like(tmp_path: Path) -> Path:
    """A package that imports as upstream does."""
    files = {
        "diffusion/__init__.py": "",
        "diffusion/model/__init__.py": "",
        "diffusion/model/ops/__init__.py": "",
        "diffusion/model/ops/fused_gdn.py": "raise ImportError('Triton')\n",
        "diffusion/model/wan/__init__.py": "from .vae import WanVAE\n",
        "diffusion/model/wan/vae.py": "raise ImportError('nothing works')\n",
        "program.py": (
            "from mmcv import Registry\n"
            "from fla.modules import ShortConvolution\n"
            "from diffusion.model.ops.fused_gdn import fused_bigdn_func\n"
            "from diffusion.model.wan import WanVAE\n"
        ),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def run(folders: tuple[Path, ...], program: str) -> subprocess.CompletedProcess[str]:
    """Run a program with folders on its import path."""
    code = f"import sys; sys.path[:0] = {[str(folder) for folder in folders]!r}\n{program}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_what_sana_wm_never_uses_raises_when_it_is_used(package: Path, upstream_like: Path) -> None:
    program = "from sana_wm_mps.guards import install_guards; install_guards(); from program import *"
    done = run((package, upstream_like), program)
    assert done.returncode == 0, done.stderr
    done = run((package, upstream_like), f"{program}; WanVAE()")
    assert "diffusion.model.wan.vae.WanVAE is not part of SANA-WM" in done.stderr
    done = run((package, upstream_like), f"{program}; import triton")
    assert "No module named 'triton'" in done.stderr


def test_guards_come_before_upstream(package: Path, upstream_like: Path) -> None:
    (upstream_like / "diffusion/model/ops/fused_gdn.py").write_text("")
    program = "import diffusion.model.ops.fused_gdn; from sana_wm_mps.guards import install_guards; install_guards()"
    assert "was imported before" in run((package, upstream_like), program).stderr


def test_packages_that_are_installed_are_left_alone(package: Path, upstream_like: Path) -> None:
    (upstream_like / "termcolor.py").write_text("colored = 'the real one'\n")
    program = (
        "from sana_wm_mps.guards import install_guards; install_guards(); "
        "import termcolor; from timm.models.vision_transformer import Mlp; print(termcolor.colored, Mlp.__module__)"
    )
    assert run((package, upstream_like), program).stdout.split() == ["the", "real", "one", "sana_wm_mps.stand_ins.timm"]


def test_the_registry_builds_what_is_registered(package: Path) -> None:
    from sana_wm_mps.stand_ins.mmcv import Registry

    registry = Registry("models")

    @registry.register_module()
    def build(size: int, depth: int = 1) -> tuple[int, int]:
        return size, depth

    assert "build" in registry
    assert registry.build({"type": "build", "size": 2}, default_args={"size": 1, "depth": 3}) == (2, 3)
    with pytest.raises(KeyError, match="already registered"):
        registry.register_module()(build)
    with pytest.raises(KeyError, match="not registered"):
        registry.build({"type": "other"})


def test_noise_is_drawn_on_the_cpu_in_float32(package: Path) -> None:
    from sana_wm_mps.device import TORCH

    generator = TORCH.Generator(device="mps").manual_seed(7)
    noise = TORCH.randn(2, 3, dtype=torch.bfloat16, device="cpu", generator=generator)
    assert torch.equal(noise, torch.randn(2, 3, generator=torch.Generator().manual_seed(7)).bfloat16())
    assert torch.equal(
        TORCH.randn((2, 3), generator=TORCH.Generator().manual_seed(7)),
        torch.randn(2, 3, generator=torch.Generator().manual_seed(7)),
    )
    assert TORCH.cat is torch.cat
    assert TORCH.cuda.is_available() == (torch.backends.mps.is_available() or torch.cuda.is_available())
    TORCH.cuda.empty_cache()


def test_a_matrix_multiplies_every_vector_of_its_token(package: Path) -> None:
    from sana_wm_mps.geometry import invert_se3
    from sana_wm_mps.rotation import apply_ray_projmat

    torch.manual_seed(0)
    matrices = torch.eye(4).repeat(2, 5, 1, 1)
    matrices[..., :3, :3] = torch.linalg.qr(torch.randn(2, 5, 3, 3))[0]
    matrices[..., :3, 3] = torch.randn(2, 5, 3) * 10
    features = torch.randn(2, 3, 5, 8)
    expected = torch.einsum("bnij,bhngj->bhngi", matrices, features.unflatten(-1, (2, 4))).flatten(-2)
    assert torch.allclose(apply_ray_projmat(features, matrices), expected, atol=1e-5)
    rounded = apply_ray_projmat(features.bfloat16(), matrices)
    assert rounded.dtype == torch.bfloat16
    assert torch.allclose(invert_se3(matrices) @ matrices, torch.eye(4).expand(2, 5, 4, 4), atol=1e-5)


def test_the_cameras_geometry_is_made_once_and_from_the_exact_conditions(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sana_wm_mps import geometry, replacements

    seen: list[torch.Tensor] = []

    def compute(conditions: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(conditions)
        return conditions, conditions

    monkeypatch.setattr(replacements, "original", lambda _: compute)
    exact = torch.randn(3, 20)
    geometry.remember_exact(exact)
    rounded = exact.bfloat16().repeat(2, 1, 1)
    for _ in range(3):
        geometry.process_camera_conditions(rounded, 2, (3, 1, 1), (1, 1, 1))
    assert len(seen) == 1
    assert torch.equal(seen[0], exact.expand(2, 3, 20))
    other = (exact + 1).bfloat16()[None]
    geometry.process_camera_conditions(other, 1, (3, 1, 1), (1, 1, 1))
    assert torch.equal(seen[1], other.float())
    kept = len(geometry._CACHE)
    del rounded, other
    assert len(geometry._CACHE) == kept - 2


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_the_convolution_over_time_is_that_of_torch(package: Path, frames: int) -> None:
    from sana_wm_mps.feed_forward import forward_glumbconv_temp

    torch.manual_seed(0)
    height, width, channels = 2, 3, 4
    wide = torch.nn.Conv2d(channels, 4 * channels, 1)
    block = types.SimpleNamespace(
        inverted_conv=types.SimpleNamespace(conv=wide),
        _apply_spatial=lambda x: wide(x)[:, :channels],
        t_conv=torch.nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), bias=False),
    )
    x = torch.randn(2, frames * height * width, channels)
    pictures = x.reshape(2 * frames, height, width, channels).permute(0, 3, 1, 2)
    spatial = block._apply_spatial(pictures).view(2, frames, channels, -1).transpose(1, 2)
    expected = (spatial + block.t_conv(spatial)).permute(0, 2, 3, 1).reshape(x.shape)
    assert torch.allclose(forward_glumbconv_temp(block, x, (frames, height, width)), expected, atol=1e-6)


def test_a_convolution_that_sana_wm_does_not_have_is_refused(package: Path) -> None:
    from sana_wm_mps.feed_forward import forward_patch_embed
    from sana_wm_mps.short_convolution import ShortConvolution

    block = types.SimpleNamespace(proj=torch.nn.Conv3d(4, 4, (1, 2, 2)), flatten=True, norm=torch.nn.Identity())
    with pytest.raises(NotImplementedError, match="patches of"):
        forward_patch_embed(block, torch.zeros(1, 4, 1, 2, 2))
    with pytest.raises(ValueError, match="neither bias nor activation"):
        ShortConvolution(4, 4, activation="silu")
