from __future__ import annotations

from decimal import Decimal

import pytest

from sana_wm.camera.moves import MOVES, SYNONYMS, Move, parse_moves
from sana_wm.errors import UsageError


def test_a_move_has_a_time_a_speed_and_an_orbit_its_distance() -> None:
    assert parse_moves(" Push-In:2s, pan-right:1.5s@0.5,orbit-left:32f:2.5u@2,hold ") == (
        Move("push-in", 32),
        Move("pan-right", 24, Decimal("0.5")),
        Move("orbit-left", 32, Decimal(2), Decimal("2.5")),
        Move("hold", None),
    )
    assert parse_moves("crane-up:1s", fps=24) == (Move("crane-up", 24),)
    assert parse_moves("orbit-right:1s")[0].distance == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["the moves are empty"]),
        ("push-in:1s,", ["move 2 of 2 names no move", "got ''"]),
        ("push-on:1s", ["names no move", "Did you mean push-in?"]),
        ("dolly-in:1s", ["Did you mean push-in?"]),
        ("zzz:1s", ["sana-wm camera moves says"]),
        ("push-in:1.3s", ["got 20.8 frames", "expected 20f (1.25 s) or 21f (1.3125 s)"]),
        ("push-in:0s", ["no whole number of frames", "expected 1f (0.0625 s)"]),
        ("push-in:8185f", ["no whole number of frames", "expected 8184f"]),
        ("push-in:1.5f", ["got 1.5 frames"]),
        ("push-in:2", ["says nothing", "got '2'"]),
        ("push-in:", ["says nothing", "got ''"]),
        ("push-in:-2s", ["says nothing"]),
        ("push-in:²s", ["says nothing"]),
        ("push-in:1e3s", ["says nothing"]),
        ("push-in:1s:2s", ["says the same twice"]),
        ("orbit-left:1s:2u:3u", ["says the same twice"]),
        ("push-in:1s:2u", ["a distance of no use", "for orbits alone"]),
        ("orbit-left:1s:0u", ["a distance of no use", "over 0"]),
        ("push-in:1s@0", ["no usable speed", "1 is the usual speed"]),
        ("push-in:1s@", ["no usable speed"]),
        ("push-in:1s@fast", ["no usable speed"]),
        ("push-in:1s@1@2", ["no usable speed"]),
        ("hold:1s@2", ["stands still"]),
    ],
)
def test_what_is_no_move_is_refused_in_four_parts(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        parse_moves(text)
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert None not in (refused.value.got, refused.value.expected, refused.value.next_step)


def test_what_others_call_a_move_is_none_of_ours() -> None:
    others = [name for names in SYNONYMS.values() for name in names]
    assert set(SYNONYMS) <= set(MOVES)
    assert len({*others, *MOVES}) == len(others) + len(MOVES)
