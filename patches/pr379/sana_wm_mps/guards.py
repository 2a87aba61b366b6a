"""Import guards: upstream's modules import on a machine that has neither CUDA nor the packages made for it.

A finder at the front of `sys.meta_path` answers for the modules named here. Nothing of upstream is edited, and the
top-level name `triton` is never taken: torch's own compiler probes for it and imports further parts of what it finds.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

#: Upstream's three Triton modules, and the module here that has what is imported from them.
KERNEL_MODULES = {
    "diffusion.model.ops.fused_cam_gdn": "sana_wm_mps.kernels",
    "diffusion.model.ops.fused_gdn": "sana_wm_mps.kernels",
    "diffusion.model.ops.fused_gdn_chunkwise": "sana_wm_mps.kernels",
}
#: Packages that exist for CUDA or old Pythons only, of which a few names are really used.
STAND_INS = {
    "fla": "sana_wm_mps.stand_ins.empty",
    "fla.modules": "sana_wm_mps.stand_ins.fla",
    "mmcv": "sana_wm_mps.stand_ins.mmcv",
    "mmcv.runner": "sana_wm_mps.stand_ins.mmcv",
    "mmcv.utils": "sana_wm_mps.stand_ins.mmcv",
    "mmcv.utils.logging": "sana_wm_mps.stand_ins.mmcv",
}
#: Ordinary packages that a Mac can have. Their stand-ins serve where they are not installed.
OPTIONAL = {
    "pytz": "sana_wm_mps.stand_ins.pytz",
    "termcolor": "sana_wm_mps.stand_ins.termcolor",
    "timm": "sana_wm_mps.stand_ins.empty",
    "timm.models": "sana_wm_mps.stand_ins.empty",
    "timm.models.layers": "sana_wm_mps.stand_ins.timm",
    "timm.models.vision_transformer": "sana_wm_mps.stand_ins.timm",
}
#: Networks and data sets that upstream's model builder imports and SANA-WM never uses.
UNUSED = (
    "diffusion.data",
    "diffusion.data.datasets",
    "diffusion.data.datasets.video",
    "diffusion.data.datasets.video.sana_video_data",
    "diffusion.model.dc_ae.efficientvit.ae_model_zoo",
    "diffusion.model.qwen.qwen_vl",
    "diffusion.model.wan.clip",
    "diffusion.model.wan.t5",
    "diffusion.model.wan.tokenizers",
    "diffusion.model.wan.vae",
    "diffusion.model.wan2_2.vae",
)
#: Upstream reads these while it is imported. xformers and liger are fused CUDA kernels; torch.compile has no use here.
ENVIRONMENT = {"DISABLE_XFORMERS": "1", "SANA_USE_LIGER": "0", "GDN_DISABLE_COMPILE": "1"}


class GuardFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the guarded modules and makes them from our own."""

    def __init__(self, sources: dict[str, str], unused: Sequence[str]) -> None:
        self.sources = sources
        self.unused = frozenset(unused)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for a guarded module, `None` for every other."""
        del path, target
        if fullname in self.sources or fullname in self.unused:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Fill a module from ours, or with names that raise when they are used."""
        source = self.sources.get(module.__name__)
        if source is None:
            module.__dict__["__getattr__"] = _unusable_names(module.__name__)
            return
        ours = importlib.import_module(source)
        module.__dict__.update({name: value for name, value in vars(ours).items() if not name.startswith("__")})


def _unusable_names(module: str) -> Any:
    def make(name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: object, **__: object) -> None:
            raise RuntimeError(f"{module}.{name} is not part of SANA-WM: sana_wm_mps leaves it out")

        return type(name, (), {"__init__": refuse, "__module__": module})

    return make


def install_guards() -> None:
    """Put the finder in front, once, and set what upstream reads from the environment.

    Raises:
        RuntimeError: Upstream's model code was imported before, with its own kernels.
    """
    if any(isinstance(finder, GuardFinder) for finder in sys.meta_path):
        return
    early = sorted({"diffusion.model.registry", *KERNEL_MODULES} & set(sys.modules))
    if early:
        raise RuntimeError(f"{early[0]} was imported before sana_wm_mps.install(); call install() first")
    os.environ.update(ENVIRONMENT)
    absent = {name: source for name, source in OPTIONAL.items() if _is_absent(name.partition(".")[0])}
    sys.meta_path.insert(0, GuardFinder(KERNEL_MODULES | STAND_INS | absent, UNUSED))


def _is_absent(package: str) -> bool:
    return importlib.util.find_spec(package) is None
