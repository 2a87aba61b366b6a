"""Upstream's inference script, unchanged, on the tiny checkpoint: `script.py CHECKOUT MODEL GEMMA OUT`.

Where upstream's ordinary packages are not installed, the few calls that the script makes of them are stood in for; and
its registry gets a network of the tiny checkpoint's sizes. All else is upstream's, at its fixed 704x1280 pixels.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import types
import typing
from pathlib import Path
from typing import Any

import diffusers.utils  # looks for torchvision while it is imported: before there is a stand-in  # noqa: F401
import imageio_ffmpeg
import numpy as np
import torch
import transformers.utils
import yaml
from PIL import Image

checkout, model, gemma, out = (Path(argument).resolve() for argument in sys.argv[1:])
sys.path.insert(0, str(checkout))
os.environ["SANA_GEMMA_2_2B_IT_ROOT"] = str(gemma)
transformers.utils.is_torchvision_available()  # remembered from now on


def parse(config_class: Any, config_path: str, args: list[str]) -> Any:
    """What `pyrallis.parse` does with nested dataclasses."""
    del args
    return fill(config_class, yaml.safe_load(Path(config_path).read_text()))


def fill(kind: Any, content: Any) -> Any:
    """An instance of a dataclass from nested dictionaries."""
    hints = typing.get_type_hints(kind)
    return kind(
        **{
            name: fill(hints[name], value) if dataclasses.is_dataclass(hints[name]) else value
            for name, value in content.items()
        }
    )


class ToTensor:
    """torchvision's picture to (3, H, W) in [0, 1]."""

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.asarray(picture)).permute(2, 0, 1) / 255


def imwrite(path: Path, video: np.ndarray, fps: int) -> None:
    """A video file of (T, H, W, 3) bytes."""
    writer = imageio_ffmpeg.write_frames(str(path), (video.shape[2], video.shape[1]), fps=fps)
    writer.send(None)
    for frame in video:
        writer.send(np.ascontiguousarray(frame))
    writer.close()


def stand_in(name: str, **names: Any) -> None:
    """Put a module into place where the package is not installed."""
    if name.partition(".")[0] in ABSENT:
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        vars(module).update(names)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


ABSENT = {name for name in ("pyrallis", "imageio", "torchvision", "scipy") if importlib.util.find_spec(name) is None}
stand_in("pyrallis", parse=parse)
stand_in("imageio")
stand_in("imageio.v3", imwrite=imwrite)
stand_in("torchvision")
stand_in("torchvision.transforms", ToTensor=ToTensor)
stand_in("torchvision.datasets")
stand_in("torchvision.datasets.utils", download_url=None)
stand_in("scipy")
stand_in("scipy.spatial")
stand_in("scipy.spatial.transform", Rotation=None)

import sana_wm_mps  # noqa: E402

sana_wm_mps.install()
MODELS = importlib.import_module("diffusion.model.builder").MODELS
network = importlib.import_module("diffusion.model.nets.sana_multi_scale_video_camctrl").SanaMSVideoCamCtrl


@MODELS.register_module()
def Tiny(**settings: Any) -> torch.nn.Module:  # noqa: N802
    """The tiny checkpoint's sizes."""
    return network(depth=4, hidden_size=64, num_heads=4, patch_size=(1, 1, 1), **settings)


out.mkdir(parents=True, exist_ok=True)
config = yaml.safe_load((checkout / "configs/sana_wm/sana_wm_1600m_720p.yaml").read_text())
config["model"] |= {
    "model": "Tiny",
    "linear_head_dim": 16,
    "mixed_precision": "fp32",
    "chunk_plucker_post_attn_blocks": 4,
}
config["vae"] |= {"vae_pretrained": str(model), "weight_dtype": "float32"}
config["text_encoder"]["caption_channels"] = 64
(out / "config.yaml").write_text(yaml.safe_dump(config))
(out / "prompt.txt").write_text("A quiet road.")
rows, columns = np.mgrid[:720, :1280]
picture = np.stack([rows // 3, columns // 5, 128 + 60 * np.sin(columns / 90.0)], axis=-1).astype(np.uint8)
Image.fromarray(picture).save(out / "picture.png")
np.save(out / "intrinsics.npy", np.array([900.0, 900.0, 640.0, 360.0], dtype=np.float32))

arguments: dict[str, Any] = {
    "image": out / "picture.png",
    "prompt": out / "prompt.txt",
    "intrinsics": out / "intrinsics.npy",
    "action": "w-8",
    "num_frames": 9,
    "step": 2,
    "name": "tiny",
    "output_dir": out,
    "config": out / "config.yaml",
    "model_path": model / "dit/sana_wm_1600m_720p.safetensors",
    "refiner_root": model / "refiner",
    "refiner_gemma_root": model / "refiner/text_encoder",
}
sys.argv = ["sana_wm_mps", *(str(word) for name, value in arguments.items() for word in (f"--{name}", value))]
sys.argv += ["--no_action_overlay", "--offload_vae", "--offload_refiner"]

importlib.import_module("sana_wm_mps.inference").run_script(checkout)
