from __future__ import annotations

import pytest

from sana_wm.camera.field_of_view import doubt_about, field_of_view_deg, focal_length_px


def test_a_centred_camera_sees_the_angle_its_focal_length_gives() -> None:
    focal = focal_length_px(90, size_px=1280)
    assert focal == pytest.approx(640)
    assert field_of_view_deg([focal, focal, 640, 352], width=1280, height=704) == pytest.approx((90, 57.62), abs=0.01)


def test_a_camera_that_is_not_centred_sees_the_sum_of_both_sides() -> None:
    assert field_of_view_deg([100, 100, 0, 50], width=100, height=100)[0] == pytest.approx(45)


@pytest.mark.parametrize(("angle_deg", "doubtful"), [(24.9, True), (25, False), (120, False), (120.1, True)])
def test_angles_outside_the_plausible_are_doubted(angle_deg: float, doubtful: bool) -> None:
    assert (doubt_about(angle_deg) is not None) == doubtful
