"""Patches that only create files: written byte for byte the same from the same files, and read back."""

from __future__ import annotations

from collections.abc import Mapping

from sana_wm.errors import HandoffError


def write_patch(files: Mapping[str, str]) -> str:
    """A patch for `git apply` that creates text files.

    Args:
        files: Content by path within the repository; no content may be empty or lack its last line break.

    Raises:
        ValueError: A content that the format cannot hold.
    """
    return "".join(_write_file(path, files[path]) for path in sorted(files))


def _write_file(path: str, content: str) -> str:
    if not content.endswith("\n") or "\r" in content:
        raise ValueError(f"{path}: a file of a patch ends in a line break and has no carriage returns")
    lines = content.split("\n")[:-1]
    span = f"1,{len(lines)}" if len(lines) > 1 else "1"
    head = f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +{span} @@\n"
    return head + "".join(f"+{line}\n" for line in lines)


def read_patch(text: str) -> dict[str, str]:
    """The files that a patch of `write_patch` creates.

    Raises:
        HandoffError: The patch does anything but create files.
    """
    files: dict[str, str] = {}
    for part in text.split("diff --git ")[1:]:
        lines = part.split("\n")
        path = lines[0].partition(" b/")[2]
        files[path] = "".join(f"{line[1:]}\n" for line in lines[5:] if line)
    if write_patch(files) != text:
        raise HandoffError(
            "this patch is not one that sana-wm wrote",
            got="hunks that do not create a file",
            next_step="Install sana-wm again, or make the patch anew: python patches/pr379/make_patch.py",
        )
    return files
