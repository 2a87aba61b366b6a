"""`compare`: what is said of two runs, on a page that runs nothing, in a folder of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sana_wm.report.comparison import read_side
from sana_wm.report.differences import describe_in_common, find_differences
from sana_wm.runs.run_directory import RunDirectory

SanaWM = Callable[..., tuple[int, str, str]]
EditManifest = Callable[..., None]


class Elements(HTMLParser):
    """Names, attributes and words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def two_runs(made_run: RunDirectory, tmp_path: Path, edit_run_manifest: EditManifest) -> tuple[Path, Path]:
    """Two runs with other seeds, prompts and paths; names and prompts are hostile."""
    runs = [Path(shutil.copytree(made_run.path, tmp_path / name)) for name in ("first", "<b>second")]
    changes = {"camera__action": "w-28,wj-28", "input__prompt": "</blockquote><script>alert(1)</script>"}
    edit_run_manifest(runs[1], stage1__seed=7, memory__cap_gib=50.0, name="<i>other</i>\x1b[2J", **changes)
    return runs[0], runs[1]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_comparison_has_a_folder_of_its_own_and_says_everything(
    two_runs: tuple[Path, Path], tmp_path: Path, sana_wm: SanaWM
) -> None:
    before = contents(tmp_path)
    code, out, err = sana_wm("compare", *two_runs)
    assert code == 0, err
    folder = tmp_path / "compare-first-<b>second"
    assert sorted(path.name for path in folder.iterdir()) == ["compare.html", "side-by-side.mp4"]
    assert "stage1.seed is 42 in A and 7 in B" in out
    assert "All 24 common frames have the same pixels." in out
    assert "\x1b" not in out
    page = Elements((folder / "compare.html").read_text())
    words = " ".join(" ".join(page.words).split())
    assert "not the same prompt, camera path and seeds" in words
    assert "stage1.seed 42 7 Noise seed, drawn on the CPU stage1 and all after it" in words
    assert "memory.cap_gib" in words
    assert "no frame" in words
    assert "Farthest apart" in words
    assert "50 m 00 s" in words  # Stage 1's transformer
    sana_wm("runs", "compare", *two_runs)
    assert (tmp_path / "compare-first-<b>second-2").is_dir()
    assert {name: data for name, data in contents(tmp_path).items() if not name.startswith("compare-")} == before


def test_nothing_of_a_run_becomes_markup_or_needs_a_network(
    two_runs: tuple[Path, Path], tmp_path: Path, sana_wm: SanaWM
) -> None:
    assert sana_wm("compare", *two_runs, "--out", tmp_path / "out")[0] == 0
    page = Elements((tmp_path / "out" / "compare.html").read_text())
    assert not {"script", "iframe", "object", "form", "b", "i"} & set(page.names)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    addresses = [value or "" for name, value in page.attributes if name in ("src", "href", "poster", "xlink:href")]
    assert [address[:16] for address in addresses if not address.startswith(("data:", "#"))] == []
    assert "</blockquote><script>alert(1)</script>" in page.words
    identifiers = [value for name, value in page.attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))


def test_what_is_there_is_never_overwritten(two_runs: tuple[Path, Path], tmp_path: Path, sana_wm: SanaWM) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "compare.html").write_text("mine")
    before = contents(tmp_path)
    for taken in (out, two_runs[0], out / "compare.html"):
        code, _, err = sana_wm("compare", *two_runs, "--out", taken)
        assert code == 2
        assert "is there already" in err
    assert contents(tmp_path) == before


def test_what_is_no_finished_run_is_refused_and_leaves_no_folder(
    two_runs: tuple[Path, Path], tmp_path: Path, sana_wm: SanaWM
) -> None:
    first, second = two_runs
    assert sana_wm("compare", first, first)[0] == 2
    assert sana_wm("compare", first, tmp_path)[0] == 4
    (second / "receipts" / "vae_decode.json").unlink()
    code, _, err = sana_wm("compare", first, second)
    assert code == 4
    assert "is not finished" in err
    assert not list(tmp_path.glob("compare-*"))


def test_a_video_that_ends_early_is_an_error_and_leaves_no_folder(
    two_runs: tuple[Path, Path], tmp_path: Path, sana_wm: SanaWM
) -> None:
    video = two_runs[1] / "video.mp4"
    data = bytearray(video.read_bytes())
    data[-3000:] = bytes(3000)
    video.write_bytes(data)
    code, _, err = sana_wm("compare", *two_runs)
    assert code == 4, err
    assert not list(tmp_path.glob("compare-*"))


def test_inputs_differ_by_their_content_not_by_their_place(
    two_runs: tuple[Path, Path], edit_run_manifest: EditManifest
) -> None:
    def differences() -> set[str]:
        a, b = (RunDirectory(run).read_manifest() for run in two_runs)
        return {one.name for one in find_differences(a, b)}

    image = {"path": "/elsewhere/picture.png", "sha256": "0" * 64}
    for run in two_runs:
        inputs = RunDirectory(run).read_manifest().model_dump(mode="json")["inputs"]
        edit_run_manifest(run, inputs=inputs | {"input.image": image})
    edit_run_manifest(two_runs[1], input__image="/yet/another/place.png")
    assert "input.image" not in differences()
    edit_run_manifest(two_runs[1], inputs={"input.image": image | {"sha256": "1" * 64}})
    assert "input.image" in differences()
    a, b = (RunDirectory(run).read_manifest() for run in two_runs)
    assert "not the same picture" in describe_in_common(a, b)


def test_json_says_the_figures(two_runs: tuple[Path, Path], sana_wm: SanaWM) -> None:
    code, out, err = sana_wm("compare", *two_runs, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert (said["num_frames"], said["first_frame"]) == (24, 1)
    assert said["differences"]["stage1.seed"] == ["42", "7"]
    assert said["mse"] == [0.0] * 24


def test_a_run_that_was_pruned_can_be_compared(two_runs: tuple[Path, Path]) -> None:
    from sana_wm.catalogue.pruning import prune_run

    prune_run(RunDirectory(two_runs[0]), latents=True)
    assert read_side("A", RunDirectory(two_runs[0])).seconds
