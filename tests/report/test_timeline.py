from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_wm.report.memory_plot import draw_memory, save_memory_plot
from sana_wm.report.timeline import CUT_S, PhaseSpan, Timeline, phase_spans, read_timeline
from sana_wm.runs.events import MemoryReading, PhaseStart, StepDone
from sana_wm.runs.run_directory import RunDirectory

GIB = 1024**3


def reading(at_s: float, process_gib: float | None, device_gib: float | None = None) -> MemoryReading:
    figures = [None if gib is None else int(gib * GIB) for gib in (process_gib, device_gib)]
    return MemoryReading(time_s=at_s, stage="stage1", process_bytes=figures[0], device_bytes=figures[1])


def timeline(*readings: MemoryReading, cap_gib: float = 10.0) -> Timeline:
    return Timeline(readings, (), (), int(cap_gib * GIB))


def curve(drawn: Timeline, label: str) -> tuple[list[float], list[float]]:
    line = next(one for one in draw_memory(drawn).axes[0].lines if str(one.get_label()).startswith(label))
    return list(np.asarray(line.get_xdata())), list(np.asarray(line.get_ydata()))


def words_of(drawn: Timeline) -> list[str]:
    figure = draw_memory(drawn)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    return texts + [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_a_night_between_two_starts_is_cut_out_of_the_axis(made_run: RunDirectory) -> None:
    found = read_timeline(made_run, 48 * GIB)
    assert len(found.pauses) == 1
    night = found.pauses[0]
    assert night.end_s - night.begin_s == pytest.approx(9 * 3600, abs=10)
    assert found.on_axis(night.end_s) - found.on_axis(night.begin_s) == pytest.approx(CUT_S)
    assert found.on_axis(found.readings[-1].time_s) < 4600
    times = [found.on_axis(one.time_s) for one in found.readings]
    assert times == sorted(times)


def test_peaks_are_marked_and_say_in_which_phase_they_were(made_run: RunDirectory) -> None:
    found = read_timeline(made_run, 48 * GIB)
    peak = found.peak("process_bytes")
    assert peak is not None
    assert peak.process_bytes == 44 * GIB
    assert "process: peak 44.0 GiB, refiner transformer" in words_of(found)
    assert "device: peak 40.0 GiB, refiner transformer" in words_of(found)
    dots = [line for line in draw_memory(found).axes[0].lines if line.get_marker() == "o"]
    assert sorted(float(np.asarray(dot.get_ydata())[0]) for dot in dots) == [9.0, 11.0, 12.0, 14.0, 40.0, 44.0]
    biggest = max(dot.get_markersize() for dot in dots)
    assert [np.asarray(dot.get_ydata())[0] for dot in dots if dot.get_markersize() == biggest] == [44.0, 40.0]


def test_curve_cap_and_phases_are_where_the_log_says(made_run: RunDirectory) -> None:
    found = read_timeline(made_run, 48 * GIB)
    figure = draw_memory(found)
    cap = next(line for line in figure.axes[0].lines if line.get_label() == "cap 48.0 GiB")
    assert set(np.asarray(cap.get_ydata())) == {48.0}
    assert len(figure.axes[1].collections) == len(found.phases) == 6
    minutes, gib = curve(found, "process")
    assert np.nanmax(gib) == 44.0
    assert minutes[1] == pytest.approx(5 / 60)
    assert np.isnan(gib).sum() == 1  # the night


def test_what_could_not_be_read_leaves_a_hole_and_never_a_zero() -> None:
    _, gib = curve(timeline(reading(0, 1.0), reading(1, None), reading(2, 3.0)), "process")
    assert gib[0] == 1.0
    assert np.isnan(gib[1])
    assert gib[2] == 3.0


@pytest.mark.parametrize("shape", ["wide", "narrow"])
def test_without_figures_the_plot_says_so(tmp_path: Path, shape: str) -> None:
    assert any("could not say" in words for words in words_of(timeline(reading(0, None), reading(1, None))))
    assert "no memory log" in words_of(timeline())
    span = PhaseSpan("stage1", "transformer", 5.0, 9.0)
    assert "no memory log" in words_of(Timeline((), (span,), (), GIB))
    draw_memory(timeline(), "wide" if shape == "wide" else "narrow")
    save_memory_plot(timeline(), tmp_path / "memory.png")
    with Image.open(tmp_path / "memory.png") as picture:
        assert picture.size[0] > 1000


def test_a_cap_far_above_is_said_and_does_not_flatten_the_curve() -> None:
    small = timeline(reading(0, 0.1), reading(1, 0.4), cap_gib=96.0)
    assert any("cap 96.0 GiB, far above" in words for words in words_of(small))
    assert draw_memory(small).axes[0].get_ylim()[1] < 1.0


def test_a_phase_that_never_ended_goes_to_the_last_event() -> None:
    events = [
        PhaseStart(time_s=5.0, phase="transformer"),
        StepDone(time_s=7.5, step=1, total=9),
    ]
    assert phase_spans("stage1", events) == [PhaseSpan("stage1", "transformer", 5.0, 7.5)]
