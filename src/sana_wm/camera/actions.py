"""The action grammar: `w-80,jw-40` holds W for 80 frames, then J and W for 40.

Source: `_parse_action_string` of NVlabs/Sana PR #379.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from reprlib import repr as short_repr

from sana_wm.errors import UsageError

#: W A S D and I J K L; what a key does is its dialect's business.
ACTION_KEYS = "wasdijkl"

#: The transformer's RoPE table ends at 1024 latent frames, i.e. 8 * 1023 + 1 poses; an action gives one pose fewer.
MAX_ACTION_FRAMES = 8184

#: Which keys are down, frame by frame.
HeldKeys = tuple[frozenset[str], ...]


@dataclass(frozen=True)
class Segment:
    """`keys` held for `num_frames` frames; no keys means standing still. `str()` gives its canonical spelling."""

    keys: frozenset[str]
    num_frames: int

    def __str__(self) -> str:
        return f"{''.join(key for key in ACTION_KEYS if key in self.keys) or 'none'}-{self.num_frames}"


def parse_action(action: str) -> tuple[Segment, ...]:
    """Read an action string.

    Segments `KEYS-FRAMES` are separated by `,` or `，`; whitespace and case do not matter, repeated keys count once,
    `none` or no key at all stands still.

    Args:
        action: For example `w-80,jw-40,none-8`.

    Returns:
        At least one segment, `MAX_ACTION_FRAMES` frames at most in all.

    Raises:
        UsageError: A segment is malformed, or there are too many frames.
    """
    spellings = "".join(action.split()).replace("，", ",").split(",")
    if spellings == [""]:
        raise UsageError(
            "the action string is empty",
            got=short_repr(action),
            expected="KEYS-FRAMES segments with commas between them",
            next_step="Write for example w-80,jw-40 (320 frames make a video of 321).",
        )
    segments = tuple(
        _parse_segment(spelling, f"action segment {number} of {len(spellings)}")
        for number, spelling in enumerate(spellings, start=1)
    )
    total = sum(segment.num_frames for segment in segments)
    if total > MAX_ACTION_FRAMES:
        raise UsageError(
            f"the {len(segments)} action segments hold too many frames together",
            got=total,
            expected=f"{MAX_ACTION_FRAMES} at most",
            next_step="Shorten the action: the model's position table ends there.",
        )
    return segments


def held_keys_per_frame(segments: Iterable[Segment]) -> HeldKeys:
    """Spread segments over their frames."""
    return tuple(segment.keys for segment in segments for _ in range(segment.num_frames))


def _parse_segment(spelling: str, where: str) -> Segment:
    keys_text, hyphen, frames_text = spelling.rpartition("-")
    if not hyphen:
        raise UsageError(
            f"{where} has no duration" if spelling else f"{where} is empty",
            got=short_repr(spelling),
            expected="KEYS-FRAMES",
            next_step="Write for example w-80; remove commas that separate nothing.",
        )
    return Segment(_parse_keys(keys_text, spelling, where), _parse_num_frames(frames_text, spelling, where))


def _parse_keys(text: str, spelling: str, where: str) -> frozenset[str]:
    keys = text.lower()
    if keys == "none":
        return frozenset()
    unknown = sorted(set(keys) - set(ACTION_KEYS))
    if unknown:
        raise UsageError(
            f"{where}, {short_repr(spelling)}, has an unknown key",
            got=short_repr("".join(unknown)),
            expected=f"keys out of {ACTION_KEYS}, or none",
            next_step="Correct the part before the last hyphen.",
        )
    return frozenset(keys)


def _parse_num_frames(text: str, spelling: str, where: str) -> int:
    digits = text.lstrip("0")
    # isdigit alone lets superscripts through; the length is checked before int(), which refuses 4301 digits.
    if not (text.isascii() and text.isdigit() and digits) or len(digits) > len(str(MAX_ACTION_FRAMES)):
        raise UsageError(
            f"{where}, {short_repr(spelling)}, has no usable duration",
            got=short_repr(text),
            expected=f"a whole number of frames from 1 to {MAX_ACTION_FRAMES}",
            next_step="Correct the part after the last hyphen.",
        )
    return int(digits)
