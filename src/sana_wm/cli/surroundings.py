"""What a command finds around it: standard streams, the environment, the working folder.

A run of hours must end as it went, whatever becomes of the terminal or file that its words go to; and what is set for
other programs of the user must not reach this one.
"""

from __future__ import annotations

import io
import os
import sys
import warnings

from sana_wm.errors import UsageError
from sana_wm.printing import drawing_stream, spell_out_output
from sana_wm.streams import outlive

#: Settings of a user's own Python work: a backend for windows that is not here, warnings turned into errors.
FOREIGN_VARIABLES = ("MPLBACKEND", "PYTHONWARNINGS")


def settle_surroundings() -> None:
    """Put standard streams and the environment in order, before a command does anything."""
    for name in FOREIGN_VARIABLES:
        if os.environ.pop(name, None) is not None and name == "PYTHONWARNINGS":
            warnings.resetwarnings()
            warnings.simplefilter("ignore")  # in place of what Python read when it started
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file that is opened would take its place, and our words with it
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = outlive(sys.stdout), outlive(sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    spell_out_output()


def outlive_the_output() -> None:
    """Let words that a full disk or a closed reader does not take be lost, instead of ending the command."""
    sys.stdout, sys.stderr = (outlive(drawing_stream(stream), loses_all=True) for stream in (sys.stdout, sys.stderr))
    spell_out_output()


def require_working_folder() -> None:
    """Refuse to work in a folder that is gone: relative paths mean nothing there.

    Raises:
        UsageError: It is.
    """
    try:
        os.getcwd()  # noqa: PTH109  # a question to the system, not a path
    except OSError as error:
        raise UsageError(
            "the working folder was deleted",
            got=error.strerror,
            expected="a folder that is there",
            next_step="Go into another one (cd), then run the command again.",
        ) from error


def why_no_window() -> str | None:
    """Why no window is opened here, in words; `None` where somebody sits before this machine and looks at it."""
    if os.environ.get("CI"):
        return "this is CI"
    if not drawing_stream(sys.stdout).isatty():
        return "standard output is no terminal"
    if os.environ.get("SSH_CONNECTION"):
        return "this terminal is that of another machine"
    if sys.platform != "darwin" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display"
    return None
