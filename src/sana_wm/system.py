"""The operating system and its version, as its users know it."""

from __future__ import annotations

import platform
import subprocess
import sys

from sana_wm.machine import macos_build


def system_version() -> str:
    """`26.2` on a Mac, the kernel's release elsewhere.

    To a Python that was built for an older macOS the system says 16.0 for every 26.x, `platform.mac_ver` with it
    (cpython #135675); its own program, asked to, says what it is.
    """
    if sys.platform != "darwin":
        return platform.release()
    said = read_output(["/usr/bin/env", "SYSTEM_VERSION_COMPAT=0", "/usr/bin/sw_vers", "-productVersion"])
    return (said or platform.mac_ver()[0]).strip()


def describe_system() -> str:
    """Name, version and architecture: `macOS 15.3 (24D60) arm64`."""
    if sys.platform == "darwin":
        return f"macOS {system_version()} ({macos_build()}) {platform.machine()}"
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def read_output(command: list[str]) -> str | None:
    """What a small program of the system says; `None` when it is not there or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
