"""The device of this machine that a manifest means."""

from __future__ import annotations

import json
import platform
import sys
from functools import cache
from importlib import metadata

import psutil

from sana_wm.modules import run_module
from sana_wm.planning.device import Device


@cache
def find_device(name: str) -> Device:
    """The device that a manifest's `device` means on this machine.

    A CPU is described here. For what only torch knows a process of its own is asked, once: it takes a few seconds, and
    on MPS asking fixes the limits of the allocator.

    Raises:
        ModuleEndedError: The device is not there.
    """
    version = metadata.version("torch")
    only_cpu = sys.platform != "darwin" and version.endswith("+cpu")
    if name == "cpu" or (name == "auto" and only_cpu):
        return Device("cpu", platform.machine(), psutil.virtual_memory().total, version)
    return Device(**json.loads(run_module("sana_wm.runtime", [name], quiet=True)))
