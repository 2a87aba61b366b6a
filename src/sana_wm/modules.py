"""Modules of this package that need torch, each run in a process of its own: the parent never loads it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from sana_wm.errors import ModuleEndedError

#: Switches that change what is computed; no stage gets them.
OVERRIDES = (
    "PYTORCH_ENABLE_MPS_FALLBACK",
    "PYTORCH_MPS_FAST_MATH",
    "ATEN_CPU_CAPABILITY",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
#: Starts a module; `-P`, because a run directory or a download folder may hold a `torch.py` of anybody's.
PYTHON = (sys.executable, "-P", "-m")


def without_overrides(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without the switches that change what is computed.

    A missing kernel of MPS shall raise instead of crawling on the CPU, arithmetic shall be as exact as it is by
    default, and a run that goes on shall go on with the same kernels.
    """
    return {name: value for name, value in environment.items() if name not in OVERRIDES}


def run_module(
    module: str, arguments: list[str], *, quiet: bool = False, environment: Mapping[str, str] | None = None
) -> str:
    """Run a module of this package that needs torch in a process of its own, which ends with this one.

    Args:
        module: Its name, as after `python -m`.
        arguments: Its arguments.
        quiet: Keep its standard output from the terminal.
        environment: Its environment; this process's own when left out.

    Returns:
        Its standard output when `quiet`, otherwise nothing.

    Raises:
        ModuleEndedError: It ended with another exit code than 0.
    """
    read_end, write_end = os.pipe()
    with (
        os.fdopen(read_end, "rb"),
        os.fdopen(write_end, "wb") as leash,
        subprocess.Popen(
            [*PYTHON, "sana_wm.tether", str(read_end), module, *arguments],
            stdout=subprocess.PIPE if quiet else None,
            text=True,
            env=environment and dict(environment),
            pass_fds=(read_end,),
        ) as process,
    ):
        try:
            said, _ = process.communicate()
        except BaseException:
            leash.close()
            process.wait()  # it cleans up and ends
            raise
    if process.returncode:
        raise ModuleEndedError(module, process.returncode)
    return said or ""
