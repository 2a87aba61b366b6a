"""What this machine and this installation are, without loading anything of it."""

from __future__ import annotations

import ctypes
import platform
import sys
from importlib import metadata
from pathlib import Path


def version_of(package: str) -> str | None:
    """The installed version of a package, from its metadata."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def describe_system() -> str:
    """The operating system as its users name it: `macOS 15.3 arm64`."""
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]} {platform.machine()}"
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def name_chip() -> str | None:
    """The processor's name, `Apple M3 Max`; `None` where the system does not say.

    Asked of the system itself: `platform.processor` says `arm` on a Mac and nothing on Linux, and starting a program
    would take longer than all the rest.
    """
    if sys.platform == "darwin":
        return _ask_macos(b"machdep.cpu.brand_string")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _ask_macos(name: bytes) -> str | None:
    size = ctypes.c_size_t(128)
    answer = ctypes.create_string_buffer(size.value)
    if ctypes.CDLL(None).sysctlbyname(name, answer, ctypes.byref(size), None, 0) != 0:
        return None
    return answer.value.decode()
