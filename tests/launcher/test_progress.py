from __future__ import annotations

import json
from pathlib import Path

from sana_wm.handoff.events import EventReader, MemoryReading, read_memory_log
from sana_wm.launcher.progress import replay
from sana_wm.names import SAVING, STARTING


def test_every_second_between_start_and_end_belongs_to_a_phase() -> None:
    events = [
        {"event": "stage_start", "time_s": 103.0},
        {"event": "phase_start", "phase": "text_encoder", "time_s": 105.0},
        {"event": "phase_end", "name": "text_encoder", "time_s": 108.0},
        {"event": "phase_start", "phase": "transformer", "time_s": 109.0},
        {"event": "step", "step": 1, "total": 3, "time_s": 112.0},
        {"event": "step", "step": 3, "total": 3, "time_s": 116.0, "preview": "/run/previews/0003.png"},
    ]
    running = replay("stage1", events, started_at_s=100.0)
    assert (running.phase, running.step, running.total, running.seconds_per_step) == ("transformer", 3, 3, 2.0)
    assert running.preview == "/run/previews/0003.png"
    events.append({"event": "phase_end", "name": "transformer", "time_s": 117.0})
    ended = replay("stage1", events, started_at_s=100.0, ended_at_s=120.0)
    assert ended.spent_s == {STARTING: 5.0, "text_encoder": 3.0, SAVING: 4.0, "transformer": 8.0}
    assert ended.ended
    assert ended.preview == "/run/previews/0003.png"


def test_a_decoder_that_reports_in_strides_began_at_the_beginning() -> None:
    strides = [{"event": "step", "step": number, "total": 56, "time_s": number} for number in (13, 29, 45, 56)]
    begun = [{"event": "phase_start", "phase": "vae_decoder", "time_s": 0.0}]
    assert replay("vae_decode", begun + strides, started_at_s=0.0).partly_done == set()
    assert replay("vae_decode", begun + strides[2:], started_at_s=0.0).partly_done == {"vae_decoder"}


def test_events_are_read_as_they_grow_half_lines_wait_and_a_new_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "stage1.jsonl"
    reader = EventReader(path)
    assert reader.read() == []
    path.write_text('{"event": "one"}\n{"event": "tw')
    assert [event["event"] for event in reader.read()] == ["one"]
    with path.open("a") as file:
        file.write('o"}\nnot json\n[]\n')
    assert [event["event"] for event in reader.read()] == ["two"]
    assert not reader.made_anew
    other = tmp_path / "other"
    other.write_text('{"event": "anew, and longer than what was there before it"}\n')
    other.replace(path)
    assert len(reader.read()) == 1
    assert reader.made_anew


def test_the_memory_log_is_read_with_what_the_system_could_not_say(tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl"
    lines = [
        {"time_s": 2.0, "stage": "refiner", "process_bytes": 5, "device_bytes": None, "available_bytes": 9},
        {"time_s": 1.0, "stage": "stage1", "process_bytes": None, "device_bytes": 7, "swap_growth_bytes": 0, "new": 1},
        {"stage": "stage1"},
        {"time_s": "soon", "stage": "stage1"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_memory_log(path) == [
        MemoryReading(1.0, "stage1", None, 7, None, 0),
        MemoryReading(2.0, "refiner", 5, None, 9, None),
    ]
    assert read_memory_log(tmp_path / "missing.jsonl") == []
