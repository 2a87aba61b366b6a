"""What this machine and this installation are, asked without loading or starting anything."""

from __future__ import annotations

import ctypes
import socket
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path


def version_of(package: str) -> str | None:
    """The installed version of a package, from its metadata."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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


def machine_identity() -> str:
    """What stays the same of this machine: a Mac's hardware UUID, elsewhere the host's name.

    A Mac gets another name with another network.
    """
    if sys.platform == "darwin":
        identity = ctypes.create_string_buffer(16)
        wait = (ctypes.c_long * 2)(1, 0)  # a timespec: a second
        if ctypes.CDLL(None).gethostuuid(identity, ctypes.byref(wait)) == 0:
            return identity.raw.hex()
    return socket.gethostname()


def macos_build() -> str | None:
    """The build of macOS, `25C56`, which changes with every update; `None` elsewhere."""
    return _ask_macos(b"kern.osversion") if sys.platform == "darwin" else None


def cache_folder(environment: Mapping[str, str], system: str = sys.platform) -> Path:
    """Where what is kept per user and machine between runs lies on this platform."""
    home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    if system == "darwin":
        return home / "Library" / "Caches" / "sana-wm"
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else home / ".cache") / "sana-wm"


def settings_folder(environment: Mapping[str, str], system: str = sys.platform) -> Path:
    """Where what a user has decided lies on this platform: it outlives a cache that is emptied."""
    home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    if system == "darwin":
        return home / "Library" / "Application Support" / "sana-wm"
    base = environment.get("XDG_CONFIG_HOME")
    return (Path(base) if base else home / ".config") / "sana-wm"


def _ask_macos(name: bytes) -> str | None:
    size = ctypes.c_size_t(128)
    answer = ctypes.create_string_buffer(size.value)
    if ctypes.CDLL(None).sysctlbyname(name, answer, ctypes.byref(size), None, 0) != 0:
        return None
    return answer.value.decode()
