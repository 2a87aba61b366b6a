from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sana_wm.camera.actions import parse_action
from sana_wm.camera.conversion import convert_action
from sana_wm.camera.dialects import action_trajectory
from sana_wm.errors import UsageError

SPEEDS = {"translation_speed": 0.05, "rotation_speed_deg": 1.2}
#: Without I and K, whose pitch limits differ, and with at most five keys, so that a pair is left to press.
SEGMENTS = st.lists(st.tuples(st.text("wasdjl", max_size=5), st.integers(1, 12)), min_size=1, max_size=6)


def convert(action: str, source: str, target: str) -> str:
    return convert_action(action, source=source, target=target, **SPEEDS)


@given(SEGMENTS)
@settings(max_examples=60, deadline=None)
def test_every_level_path_without_inertia_is_expressed_exactly_with_inertia(segments: list[tuple[str, int]]) -> None:
    action = ",".join(f"{keys}-{count}" for keys, count in segments)
    converted = convert(action, "pr379", "smoothed")
    assert sum(one.num_frames for one in parse_action(converted)) == sum(count for _, count in segments)
    wanted, got = action_trajectory(action).c2w, action_trajectory(converted, dialect="smoothed").c2w
    assert np.array_equal(wanted, got)
    assert np.array_equal(action_trajectory(convert(converted, "smoothed", "pr379")).c2w, wanted)


def test_exchanging_the_keys_alone_would_coast() -> None:
    assert convert("w-80,jw-40,w-40", "pr379", "smoothed") == "w-80,wa-40,wik-1,w-39"
    coasting = action_trajectory("w-80,wa-40,w-40", dialect="smoothed").c2w
    assert np.abs(coasting - action_trajectory("w-80,jw-40,w-40").c2w).max() > 0.1


@pytest.mark.parametrize(
    ("action", "source", "target", "said"),
    [
        ("w-80,aw-40,w-3", "smoothed", "pr379", "another pose from frame 121 on, where the camera coasts"),
        ("i-60", "pr379", "smoothed", "another pose from frame 51 on, where pitch meets the limit, 85 degrees in one"),
        ("wsadijkl-8,w-3", "pr379", "smoothed", "where the camera coasts"),
    ],
)
def test_what_a_dialect_cannot_express_is_refused(action: str, source: str, target: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"dialect {target} cannot express") as error:
        convert(action, source, target)
    assert said in str(error.value)


def test_a_dialect_in_itself_is_the_canonical_spelling() -> None:
    assert convert(" JW-3，NONE-2", "smoothed", "smoothed") == "wj-3,none-2"
