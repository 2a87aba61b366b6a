from __future__ import annotations

from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.text_plot import path_as_text


def test_a_corner_to_the_right_is_drawn_as_one() -> None:
    lines = path_as_text(action_trajectory("w-100,d-100"))
    above = lines[1 : lines.index("")]
    start = next(row for row, line in enumerate(above) if "S" in line)
    end = next(row for row, line in enumerate(above) if "E" in line)
    assert (start, end) == (len(above) - 2, 0), "forward is up the page"
    assert above[end].index("E") > above[start].index("S")
    assert above[-1] == "  5.00 x 5.00 scene units"


def test_units_are_as_long_down_as_across() -> None:
    above = path_as_text(action_trajectory("wl-300"))[1:]
    circle = [line.rstrip() for line in above[: above.index("") - 1]]
    width = max(map(len, circle)) - 2
    assert abs(width * 2 - len(circle) * 4) <= 4, "two dots across and four down in a character"


def test_turning_on_the_spot_is_said_not_to_move() -> None:
    assert path_as_text(action_trajectory("l-20")).count("  does not move") == 2


def test_no_line_is_wider_than_a_terminal() -> None:
    for action in ("w-8000", "d-3000,w-10", "wl-600", "s-1"):
        assert max(map(len, path_as_text(action_trajectory(action)))) <= 76
