from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sana_wm.durable import durable_file, is_part, make_part, remove_parts_in, remove_tree, sha256_of, write_durably
from sana_wm.errors import HandoffError


def test_a_file_appears_only_when_its_block_ended_well(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "latents.safetensors"
    with durable_file(path) as part:
        part.write_bytes(b"whole")
        assert not path.exists()
        assert part.parent == path.parent
        assert part.suffix == path.suffix
    assert path.read_bytes() == b"whole"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    write_durably(path, "old")

    def fail() -> None:
        with durable_file(path) as part:
            part.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(HandoffError, match="No space left on device") as caught:
        fail()
    assert caught.value.exit_code == 4
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HandoffError, match="cannot be written"):
        write_durably(tmp_path / "file" / "receipt.json", "")


def test_leftovers_of_a_killed_writer_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = tmp_path / "latents" / "part.safetensors"
    write_durably(kept, "kept")
    make_part(tmp_path / "latents" / "stage1.safetensors").write_text("half")
    others = [tmp_path / "latents" / name for name in ("stage1.part.safetensors", "mine.part", ".sana-wm-1.part")]
    for path in others:
        path.touch()
    remove_parts_in(tmp_path / "latents")
    assert sorted((tmp_path / "latents").iterdir()) == sorted([kept, *others])


def test_two_writers_of_a_file_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with durable_file(path) as first, durable_file(path) as second:
        assert first != second
        assert is_part(first)
        assert is_part(second)
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_removed_and_what_it_points_to_stays(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").write_text("")
    link = tmp_path / "link"
    link.symlink_to(target)
    remove_tree(link)
    assert not link.exists()
    assert (target / "precious").exists()


def test_a_tree_whose_files_take_others_with_them_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On exFAT macOS keeps `._NAME` beside NAME, and deletes it with NAME."""
    unlink = os.unlink

    def with_its_companion(name: str, *, dir_fd: int | None = None) -> None:
        unlink(name, dir_fd=dir_fd)
        if not name.startswith("._"):
            unlink(f"._{name}", dir_fd=dir_fd)

    for name in ("a", "b"):
        (tmp_path / "tree" / "below").mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / "below" / name).write_text("")
        (tmp_path / "tree" / "below" / f"._{name}").write_text("")
    monkeypatch.setattr(os, "unlink", with_its_companion)
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(HandoffError, match="cannot be read"):
        sha256_of(tmp_path / "b")


def test_a_folder_that_is_named_like_half_a_file_is_nobodys_leftover(tmp_path: Path) -> None:
    folder = make_part(tmp_path / "video.mp4")
    folder.unlink()
    folder.mkdir()
    make_part(tmp_path / "video.mp4")
    remove_parts_in(tmp_path)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(("call", "number"), [("fsync", errno.EINVAL), ("fchmod", errno.EPERM)])
def test_an_odd_volume_is_passed_over_with_a_word(tmp_path: Path, odd_calls: Path, call: str, number: int) -> None:
    """exFAT, SMB and FUSE volumes; a file's own fsync is never passed over."""
    script = (
        "import sys; from pathlib import Path; from sana_wm.durable import durable_file\n"
        "for name in 'ab':\n"
        "    with durable_file(Path(sys.argv[1]) / name) as part: part.chmod(0o600); part.write_text('whole')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "volume"],
        env={**os.environ, "LD_PRELOAD": str(odd_calls), "ODD_CALL": call, "ODD_ERROR": str(number)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("note: this volume cannot") == 1
    assert [(path.name, path.read_text()) for path in sorted((tmp_path / "volume").iterdir())] == [
        ("a", "whole"),
        ("b", "whole"),
    ]


def test_a_failing_disk_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(HandoffError, match="Input/output error"):
        write_durably(tmp_path / "x", "half")
    assert list(tmp_path.iterdir()) == []
