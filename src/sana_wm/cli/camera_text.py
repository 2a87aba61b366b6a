"""A camera path in words, as `camera explain` prints it."""

from __future__ import annotations

from sana_wm.camera.crop_words import name_part
from sana_wm.camera.description import PathFacts, SegmentFacts, key_words
from sana_wm.camera.dialects import DIALECTS
from sana_wm.drafting.camera_view import CameraView


def summary(view: CameraView, facts: PathFacts, field_of_view: tuple[float, float] | None) -> list[str]:
    """What a camera is and does, a few lines."""
    lines: list[str] = []
    if view.moves is not None:
        lines.append(f"moves     {view.moves.told}")
    if view.motion is None:
        lines.append(f"poses     {view.origin}, no dialect")
    else:
        dialect = DIALECTS[view.motion.dialect]
        keys = ", ".join(f"{key} {key_words(frozenset(key), dialect)}" for key in "adjl")
        inertia = "with inertia" if dialect.inertia else "no inertia"
        lines.append(f"dialect   {view.motion.dialect}: {keys}; w/s forward, back; i/k look up, down; {inertia}")
        translation_speed, rotation_speed_deg = view.motion.translation_speed, view.motion.rotation_speed_deg
        lines.append(f"speeds    {translation_speed:g} scene units and {rotation_speed_deg:g} degrees a frame")
        if view.moves is not None:
            lines.append(f"action    {view.motion.action}")
    lines += [
        f"path      {facts.length:.2f} scene units in {facts.seconds:.1f} s at {view.video.fps} fps, "
        f"{facts.displacement:.2f} from start to end; "
        f"{facts.num_poses} of {len(view.trajectory)} poses",
        f"rotation  {facts.mean_turn_deg_per_s:.1f} degrees/s on average, {facts.peak_turn_deg_per_s:.1f} at most; "
        f"looks {_side(facts.final_yaw_deg, 'right', 'left')} and "
        f"{_side(facts.final_pitch_deg, 'up', 'down')} in the end",
    ]
    if field_of_view is not None and view.lens is not None:
        across, down = field_of_view
        lines.append(f"view      {across:.1f} x {down:.1f} degrees ({view.lens.source})")
        geometry = view.lens.geometry(height=view.video.height, width=view.video.width)
        left, top, right, bottom = (round(edge) for edge in geometry.kept_box_px)
        lines.append(
            f"picture   {name_part(geometry, view.lens.crop)}: columns {left} to {right}, rows {top} to {bottom}"
        )
    return [*lines, ""]


def _side(angle_deg: float, over_0: str, below_0: str) -> str:
    return f"{abs(angle_deg):.1f} degrees {over_0 if angle_deg >= 0 else below_0}"


def segment_table(segments: tuple[SegmentFacts, ...], fps: int) -> list[str]:
    """What each segment does, one a line."""
    if not segments:
        return []
    rows = [("segment", "poses", "seconds", "holds", "way", "turns", "looks")]
    rows += [
        (
            one.spelling,
            f"{one.first_frame}-{one.last_frame}",
            f"{one.first_frame / fps:.1f}-{one.last_frame / fps:.1f}",
            one.held,
            f"{one.length:.2f}",
            _turn(one.yaw_deg, "right", "left"),
            _turn(one.pitch_deg, "up", "down"),
        )
        for one in segments
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _turn(angle_deg: float, over_0: str, below_0: str) -> str:
    return "-" if abs(angle_deg) < 0.05 else f"{abs(angle_deg):.1f} {over_0 if angle_deg > 0 else below_0}"
