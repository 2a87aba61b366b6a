"""Named moves, the words of a film set: `push-in:2s,pan-right:1.5s@0.5,hold:1s`.

A move is `NAME[:TIME][:DISTANCE][@SPEED]`: TIME in seconds (`2s`) or frames (`32f`), DISTANCE of what an orbit goes
round, in scene units (`3u`), SPEED as a factor of the usual one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from reprlib import repr as short_repr
from types import MappingProxyType

from sana_wm.camera.actions import MAX_ACTION_FRAMES
from sana_wm.errors import UsageError, nearest

#: A move of speed 1, per frame: scene units and degrees; the speeds of a manifest that names none.
MOVE_STEP, MOVE_TURN_DEG = Decimal("0.05"), Decimal("1.2")
#: How far an orbit's middle lies ahead where nothing says so, in scene units. At the usual step of 0.05 the camera
#: turns 0.95 degrees a frame round it, less than a usual pan.
ORBIT_DISTANCE = Decimal(3)


@dataclass(frozen=True)
class MoveKind:
    """What a move does in a frame, as signs of the usual steps.

    Attributes:
        does: In words.
        key: That does the same in the dialect `pr379`; `none` stands still, `None`: no key does it.
        forward: Along the view, kept level.
        right: Across the view, kept level.
        up: Along the vertical.
        yaw: Turning, over 0 to the right.
        pitch: Over 0 upwards.
        orbits: The camera goes round a point ahead, and turns so that it stays ahead.
    """

    does: str
    key: str | None = None
    forward: int = 0
    right: int = 0
    up: int = 0
    yaw: int = 0
    pitch: int = 0
    orbits: bool = False

    @property
    def travels(self) -> bool:
        """Whether the camera changes its place."""
        return any((self.forward, self.right, self.up))

    @property
    def turns(self) -> bool:
        """Whether it turns at a speed of its own; an orbit turns as quickly as it travels."""
        return any((self.yaw, self.pitch)) and not self.orbits


MOVES: Mapping[str, MoveKind] = MappingProxyType(
    {
        "push-in": MoveKind("goes forwards", "w", forward=1),
        "pull-out": MoveKind("goes backwards", "s", forward=-1),
        "truck-left": MoveKind("goes to the left, looking ahead", "a", right=-1),
        "truck-right": MoveKind("goes to the right, looking ahead", "d", right=1),
        "pan-left": MoveKind("turns to the left on the spot", "j", yaw=-1),
        "pan-right": MoveKind("turns to the right on the spot", "l", yaw=1),
        "tilt-up": MoveKind("looks up on the spot", "i", pitch=1),
        "tilt-down": MoveKind("looks down on the spot", "k", pitch=-1),
        "orbit-left": MoveKind("goes round a point ahead, to the left", right=-1, yaw=1, orbits=True),
        "orbit-right": MoveKind("goes round a point ahead, to the right", right=1, yaw=-1, orbits=True),
        "crane-up": MoveKind("rises, looking ahead", up=1),
        "crane-down": MoveKind("sinks, looking ahead", up=-1),
        "hold": MoveKind("stands still", "none"),
    }
)

#: What others call them.
SYNONYMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "push-in": ("dolly-in", "zoom-in", "forward", "walk"),
        "pull-out": ("dolly-out", "zoom-out", "pull-back", "back"),
        "truck-left": ("dolly-left", "strafe-left", "left"),
        "truck-right": ("dolly-right", "strafe-right", "right"),
        "pan-left": ("turn-left", "yaw-left"),
        "pan-right": ("turn-right", "yaw-right"),
        "orbit-left": ("arc-left",),
        "orbit-right": ("arc-right",),
        "crane-up": ("pedestal-up", "boom-up", "rise"),
        "crane-down": ("pedestal-down", "boom-down", "sink"),
        "hold": ("static", "still", "stay", "wait", "none"),
    }
)


@dataclass(frozen=True)
class Move:
    """One move.

    Attributes:
        name: A name in `MOVES`.
        num_frames: How long it takes, 1 or more; `None`: nothing said so.
        speed: Factor of the usual speed, over 0.
        distance: Of an orbit's middle, in scene units; `None` for other moves.
    """

    name: str
    num_frames: int | None
    speed: Decimal = Decimal(1)
    distance: Decimal | None = None

    @property
    def kind(self) -> MoveKind:
        """What it does."""
        return MOVES[self.name]

    @property
    def step(self) -> float:
        """Scene units a frame; 0 where it does not travel."""
        return float(MOVE_STEP * self.speed) if self.kind.travels else 0.0

    @property
    def turn_deg(self) -> float:
        """Degrees a frame; an orbit's are those of the arc that it travels."""
        if self.distance is not None:
            return math.degrees(self.step / float(self.distance))
        return float(MOVE_TURN_DEG * self.speed) if self.kind.turns else 0.0


#: A number that a user writes: nothing that needs an exponent.
NUMBER = r"(\d{1,6}(?:\.\d{1,6})?)"


def parse_moves(text: str, *, fps: int = 16) -> tuple[Move, ...]:
    """Read named moves; whitespace and case do not matter.

    Args:
        text: For example `push-in:2s,orbit-left:4s:2.5u@0.5,hold:8f`.
        fps: Frames a second, for times in seconds.

    Returns:
        At least one move.

    Raises:
        UsageError: A move is none, or a time is no whole number of frames.
    """
    spellings = "".join(text.split()).lower().split(",")
    if spellings == [""]:
        raise UsageError(
            "the moves are empty",
            got=short_repr(text),
            expected="moves with commas between them",
            next_step="Write for example push-in:2s,hold:1s; sana-wm camera moves lists all.",
        )
    return tuple(
        _parse_move(spelling, f"move {number} of {len(spellings)}", fps)
        for number, spelling in enumerate(spellings, start=1)
    )


def _parse_move(spelling: str, where: str, fps: int) -> Move:
    body, at, speed_text = spelling.partition("@")
    name, *values = body.split(":")
    kind = _known_kind(name, where)
    where = f"{where}, {short_repr(spelling)},"
    num_frames = distance = None
    for value in values:
        if (found := re.fullmatch(NUMBER + "([sfu])", value, re.ASCII)) is None:
            raise UsageError(
                f"{where} has a part that says nothing",
                got=short_repr(value),
                expected="a time such as 2s or 32f, or an orbit's distance such as 3u",
                next_step=f"Write for example {name}:2s@0.5.",
            )
        number, unit = Decimal(found[1]), found[2]
        if (distance if unit == "u" else num_frames) is not None:
            raise UsageError(
                f"{where} says the same twice",
                got=short_repr(value),
                expected="one time and, for an orbit, one distance",
                next_step="Keep one of them.",
            )
        if unit == "u":
            distance = _distance(number, kind, where)
        else:
            num_frames = _whole_frames(number, unit, where, fps)
    if kind.orbits and distance is None:
        distance = ORBIT_DISTANCE
    return Move(name, num_frames, _speed(speed_text, kind, where) if at else Decimal(1), distance)


def _known_kind(name: str, where: str) -> MoveKind:
    if name in MOVES:
        return MOVES[name]
    meant = [ours for ours, others in SYNONYMS.items() if name in others]
    near = meant[0] if meant else nearest(name, MOVES)
    raise UsageError(
        f"{where} names no move",
        got=short_repr(name),
        expected=", ".join(MOVES),
        next_step=f"Did you mean {near}?" if near else "sana-wm camera moves says what each does.",
    )


def _whole_frames(number: Decimal, unit: str, where: str, fps: int) -> int:
    frames = number * fps if unit == "s" else number
    if frames % 1 or not 1 <= frames <= MAX_ACTION_FRAMES:
        near = sorted({min(max(1, int(frames) + more), MAX_ACTION_FRAMES) for more in (0, 1)})
        raise UsageError(
            f"{where} takes no whole number of frames from 1 to {MAX_ACTION_FRAMES} at {fps} frames a second",
            got=f"{frames.normalize():f} frames",
            expected=" or ".join(f"{count}f ({count / fps:.6g} s)" for count in near),
            next_step="Write one of these.",
        )
    return int(frames)


def _distance(number: Decimal, kind: MoveKind, where: str) -> Decimal:
    if not kind.orbits or not number:
        raise UsageError(
            f"{where} has a distance of no use",
            got=f"{number}u",
            expected="a distance over 0" if kind.orbits else "a distance for orbits alone",
            next_step="Write for example orbit-left:4s:3u, round a point 3 scene units ahead.",
        )
    return number


def _speed(text: str, kind: MoveKind, where: str) -> Decimal:
    found = re.fullmatch(NUMBER, text, re.ASCII)
    moves = kind.travels or kind.turns
    if found is None or not Decimal(text) or not moves:
        raise UsageError(
            f"{where} has no usable speed" if moves else f"{where} has a speed and stands still",
            got=short_repr(text),
            expected="a number over 0, where 1 is the usual speed" if moves else "hold with a time alone",
            next_step="Write for example @0.5 for half the usual speed." if moves else "Leave @ out.",
        )
    return Decimal(text)
