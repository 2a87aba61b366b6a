from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_wm.camera.actions import ACTION_KEYS, MAX_ACTION_FRAMES, Segment, held_keys_per_frame, parse_action
from sana_wm.errors import UsageError

segments = st.builds(Segment, st.frozensets(st.sampled_from(ACTION_KEYS)), st.integers(1, 400))


def test_odd_strings_are_taken_or_refused_as_upstream_does(golden: Path) -> None:
    for action, verdict in json.loads((golden / "action_parse.json").read_text()).items():
        if verdict["ok"]:
            assert [sorted(keys) for keys in held_keys_per_frame(parse_action(action))] == verdict["per_frame"]
        else:
            with pytest.raises(UsageError):
                parse_action(action)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (
            " ",
            "the action string is empty; got ' '; expected KEYS-FRAMES segments with commas between them. "
            "Write for example w-80,jw-40 (320 frames make a video of 321).",
        ),
        (
            "w-5,d",
            "action segment 2 of 2 has no duration; got 'd'; expected KEYS-FRAMES. "
            "Write for example w-80; remove commas that separate nothing.",
        ),
        (
            "w-5,,d-3",
            "action segment 2 of 3 is empty; got ''; expected KEYS-FRAMES. "
            "Write for example w-80; remove commas that separate nothing.",
        ),
        (
            "w-5，xW!-3",
            "action segment 2 of 2, 'xw!-3', has an unknown key; got '!x'; expected keys out of wasdijkl, or none. "
            "Correct the part before the last hyphen.",
        ),
        (
            "w-5-3",
            "action segment 1 of 1, 'w-5-3', has an unknown key; got '-5'; expected keys out of wasdijkl, or none. "
            "Correct the part before the last hyphen.",
        ),
        (
            "w-1.5",
            "action segment 1 of 1, 'w-1.5', has no usable duration; got '1.5'; "
            "expected a whole number of frames from 1 to 8184. Correct the part after the last hyphen.",
        ),
        (
            "w-8000,d-185",
            "the 2 action segments hold too many frames together; got 8185; expected 8184 at most. "
            "Shorten the action: the model's position table ends there.",
        ),
    ],
)
def test_a_refusal_names_the_segment_and_its_place(action: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_action(action)
    assert str(error.value).lower() == message.lower()


@pytest.mark.parametrize("frames", ["0", "000", "²", "٣", "+5", "1_0", "9" * 5000, "99999"])
def test_only_ascii_digits_within_the_limit_are_a_duration(frames: str) -> None:
    with pytest.raises(UsageError, match="no usable duration"):
        parse_action(f"w-{frames}")


def test_leading_zeros_case_spaces_and_repeats_do_not_matter() -> None:
    assert parse_action(" W w D -0" + "0" * 5000 + "7\n,None-1") == (
        Segment(frozenset("wd"), 7),
        Segment(frozenset(), 1),
    )


def test_the_longest_action_is_taken() -> None:
    assert len(held_keys_per_frame(parse_action(f"w-{MAX_ACTION_FRAMES}"))) == MAX_ACTION_FRAMES


@given(st.text() | st.text(alphabet="wasdijklWnoe0123456789-,， ²"))
def test_any_text_is_parsed_or_refused_in_one_line(action: str) -> None:
    try:
        outcome = parse_action(action)
    except UsageError as error:
        outcome = error
    if isinstance(outcome, UsageError):
        assert all((outcome.what, outcome.got, outcome.expected, outcome.next_step))
        assert "\n" not in str(outcome)
    else:
        assert 0 < sum(segment.num_frames for segment in outcome) <= MAX_ACTION_FRAMES


@given(st.lists(segments, min_size=1, max_size=20))
def test_spelling_and_parsing_are_inverse(original: list[Segment]) -> None:
    assert parse_action(",".join(map(str, original))) == tuple(original)
