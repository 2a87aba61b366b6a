"""The place of a new run: one process has it, and what fails gives it back as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from sana_wm.drafting.new_run import NewRun, new_place, numbered
from sana_wm.errors import UsageError


def test_all_who_choose_at_the_same_instant_get_names_of_their_own(tmp_path: Path) -> None:
    together = Barrier(8)

    def choose(number: int) -> Path:
        together.wait()
        with new_place(numbered(tmp_path / f"runs{number}" / "room")) as place:
            return place.path

    with ThreadPoolExecutor(8) as threads:
        for number in range(20):
            chosen = list(threads.map(choose, [number] * 8))
            assert len({*chosen}) == 8
            assert {path.name for path in chosen} == {"room", *(f"room-{count}" for count in range(2, 9))}


def test_what_fails_leaves_nothing_of_its_own_and_all_of_others(tmp_path: Path) -> None:
    others = [tmp_path / name for name in ("room-camera.npy", "room-2-camera-2.npy", "room-3-frame.png", "roomy.json")]
    for path in others:
        path.write_text("mine")

    def begin_and_fail() -> None:
        with new_place(numbered(tmp_path / "room")) as place:
            assert place.path.name == "room-4"
            for end in (".npy", "-2.npy"):
                place.path.with_name(f"room-4-camera{end}").write_text("written for it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin_and_fail()
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_a_name_that_was_said_is_taken_or_refused(tmp_path: Path) -> None:
    with new_place([tmp_path / "far" / "away" / "room"]) as place:
        assert place.manifest_path.exists()
    with pytest.raises(UsageError, match=r"room\.json is there already"), new_place([place.path]):
        pass
    place.discard_unstarted()
    assert list(tmp_path.iterdir()) == []


def test_what_has_begun_stays(tmp_path: Path) -> None:
    with new_place([tmp_path / "room"]) as place:
        place.path.mkdir()
    place.discard_unstarted()
    assert place.manifest_path.exists()
    assert NewRun(place.path).manifest_path == place.manifest_path
