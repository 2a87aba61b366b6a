"""Gathers what the checkup looks at, without torch in this process."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from sana_wm.errors import ModuleEndedError, SanaWMError
from sana_wm.machine import name_chip, version_of
from sana_wm.manifest.model import Manifest
from sana_wm.names import STAGES
from sana_wm.pipeline import active_stages
from sana_wm.planning.device import Device
from sana_wm.planning.this_device import find_device
from sana_wm.preflight.checkup import MEANINGFUL_VARIABLES, Facts
from sana_wm.system import read_output, system_version
from sana_wm.video.encoder import usable_codecs
from sana_wm.weights.check import check_layout
from sana_wm.weights.finding import find_places
from sana_wm.weights.manifest_layout import locate_weights

PACKAGES = ("diffusers", "transformers", "safetensors")


def gather_machine_facts(environment: Mapping[str, str], manifest: Manifest | None = None) -> Facts:
    """Look at this machine.

    Args:
        environment: This process's environment.
        manifest: Says where the weights are; otherwise `SANA_WM_MODEL_ROOT` and `SANA_GEMMA_2_2B_IT_ROOT` do.
    """
    torch = version_of("torch")
    return Facts(
        system=platform.system(),
        system_version=system_version(),
        architecture=platform.machine(),
        chip=name_chip() or platform.machine(),
        memory_bytes=psutil.virtual_memory().total,
        python=platform.python_version(),
        torch=torch,
        packages={name: version_of(name) for name in PACKAGES},
        torchvision=version_of("torchvision"),
        device=_device() if torch is not None else None,
        free_disk_bytes=shutil.disk_usage(Path.cwd()).free,
        codecs=_codecs(),
        weights=_weights(environment, manifest),
        environment={name: environment[name] for name in MEANINGFUL_VARIABLES if name in environment},
        idle_sleep_min=_idle_sleep_min(),
    )


def _device() -> Device | None:
    try:
        return find_device("auto")
    except ModuleEndedError:
        return None  # what torch said is on standard error


def _codecs() -> tuple[str, ...] | None:
    try:
        return usable_codecs()
    except SanaWMError:
        return None  # there is none that can be started


def _weights(environment: Mapping[str, str], manifest: Manifest | None) -> tuple[str, tuple[str, ...]] | None:
    where = "the manifest"
    try:
        if manifest is not None:
            layout, stages, where = locate_weights(manifest), active_stages(manifest), manifest.model.root
        else:
            found = find_places("bidirectional", None, environment)
            if found.source is None:
                return None
            where = str(found.places.root)
            layout, stages = found.places.layout(), STAGES
    except SanaWMError as error:
        return where, (str(error),)
    return where, tuple(str(problem) for problem in check_layout(layout, stages))


def _idle_sleep_min() -> int | None:
    """From `pmset -g`, whose line ` sleep  1 (…)` says after how many idle minutes the Mac sleeps."""
    if sys.platform != "darwin":
        return None
    said = read_output(["pmset", "-g"])
    found = re.search(r"^\s*sleep\s+(\d+)", said or "", re.MULTILINE)
    return int(found.group(1)) if found else None
