"""The page as text: what it says, and that nothing in a run can become markup."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sana_wm.durable import is_part
from sana_wm.errors import HandoffError
from sana_wm.figures import format_bytes, format_seconds
from sana_wm.names import Stage
from sana_wm.report.facts import gather_run_facts
from sana_wm.report.first_frame import read_first_frame
from sana_wm.report.page import show_first_frame
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.sealed import read_sealed, write_sealed
from sana_wm.video.reader import describe_video

VOID = {"meta", "link", "img", "br", "input"}


class Elements(HTMLParser):
    """All elements and attributes of a page, and whether they are closed in the right order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def copy(made_run: RunDirectory, tmp_path: Path) -> RunDirectory:
    shutil.copytree(made_run.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


@pytest.fixture(scope="session")
def page(made_page: Path) -> Elements:
    return Elements(made_page.read_text(encoding="utf-8"))


def words_of(page: Elements) -> str:
    return " ".join(" ".join(page.words).split())


def test_the_page_is_whole_needs_nothing_and_runs_nothing(page: Elements) -> None:
    assert not {"script", "iframe", "object", "form"} & set(page.names)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    addresses = [value or "" for name, value in page.attributes if name in ("src", "href", "poster", "xlink:href")]
    assert [address[:16] for address in addresses if not address.startswith(("data:", "#"))] == []
    assert {"video", "img", "svg"} <= set(page.names)


def test_nothing_in_a_prompt_or_a_name_becomes_markup(page: Elements, made_run: RunDirectory) -> None:
    manifest = made_run.read_manifest()
    assert manifest.input.prompt is not None
    assert manifest.input.prompt in page.words
    assert manifest.name in page.words
    assert "i" not in page.names  # the name is `street <i>at</i> dawn`
    assert not [value for _, value in page.attributes if value and "alert" in value]


def test_identifiers_on_the_page_are_its_own(page: Elements) -> None:
    identifiers = [value for name, value in page.attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))
    referred = {value for name, value in page.attributes if name == "xlink:href" and value and value.startswith("#")}
    assert referred
    assert referred <= {f"#{value}" for value in identifiers}


def test_everything_of_the_run_is_said(page: Elements) -> None:
    words = words_of(page)
    assert words.count("Every output, input and setting matches the receipt.") == 3
    assert "process: peak 44.0 GiB, refiner transformer" in words
    assert "refiner 44.0 GiB 40.0 GiB 0 0" in words
    assert "at least 80.0 GiB left, its swap grew by at most 0" in words
    assert "1 earlier one of the same work" in words
    assert "every frame is finite and within 0.02 to 20.0" in words
    assert "torch 2.14.1" in words
    assert '"num_frames": 57' in words
    assert "bidirectional model, 60 steps, guidance 5.0, refined, seed 42" in words
    assert "every file is what its receipt says" in words
    assert "finished 2030-01-01 00:00 UTC" in words


def test_what_a_user_wants_stands_before_what_an_engineer_wants(made_page: Path) -> None:
    text = made_page.read_text(encoding="utf-8")
    order = [
        'id="video"',
        "Made in",
        'id="input"',
        'id="camera"',
        'id="frames"',
        'id="again"',
        '<details id="engineers">',
    ]
    places = [text.index(words) for words in [*order, 'id="memory"', 'id="receipts"', 'id="manifest"']]
    assert places == sorted(places)


def test_the_page_says_the_figures_that_other_commands_say(
    page: Elements, made_run: RunDirectory, sana_wm: Callable[..., tuple[int, str, str]]
) -> None:
    words = words_of(page)
    took = re.search(r"finished, (.+) elapsed", sana_wm("status", made_run.path)[1])
    assert took is not None
    assert f"Made in {took[1]}" in words
    assert f"{took[1]} in all" in words
    assert f"Video {describe_video(made_run.video_file)}" in words
    size_bytes = made_run.video_file.stat().st_size
    assert words.count(format_bytes(size_bytes)) == 2  # at the top, and of the receipt


def test_the_total_time_is_the_same_in_the_list_of_runs(
    finished_run: Path, tmp_path: Path, sana_wm: Callable[..., tuple[int, str, str]]
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    took = re.search(r"finished, (.+) elapsed", sana_wm("status", run)[1])
    assert took is not None
    assert f"finished in {took[1]}\n" in sana_wm("runs", "list", tmp_path)[1]
    assert format_seconds(gather_run_facts(RunDirectory(run)).elapsed_s or 0) == took[1]


def test_the_picture_is_shown_only_as_long_as_it_is_the_runs(
    copy: RunDirectory, edit_run_manifest: Callable[..., None], tmp_path: Path
) -> None:
    manifest = copy.read_manifest()
    with Image.open(io.BytesIO(read_first_frame(manifest))) as picture:
        assert (picture.size, picture.format) == ((300, 200), "JPEG")
    mine = tmp_path / "mine.png"
    Image.new("RGB", (8, 8)).save(mine)
    edit_run_manifest(copy.path, input__image=str(mine))
    with pytest.raises(HandoffError, match="not what it was when the run began"):
        read_first_frame(copy.read_manifest())
    os.mkfifo(tmp_path / "pipe.png")
    edit_run_manifest(copy.path, input__image=str(tmp_path / "pipe.png"))
    assert "not shown" in show_first_frame(gather_run_facts(copy))
    assert "a named pipe" in show_first_frame(gather_run_facts(copy))


def test_a_run_is_made_again_with_the_command_that_its_page_names(finished_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    shutil.copytree(finished_run, folder / "run")
    write, _, start = gather_run_facts(RunDirectory(folder / "run")).again_command.partition(" && ")
    for command in (write, f"{start} --dry-run"):
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command.replace("sana-wm", "sana_wm", 1))], check=False
        )
        assert done.returncode == 0
    again = json.loads((folder / "run-again.json").read_text())
    assert folder / again["output_dir"] == folder / "run-again"  # from where the manifest lies
    assert again["stage1"]["seed"] == RunDirectory(finished_run).read_manifest().stage1.seed


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a sealed file as this package would have written it."""
    data = json.loads(read_sealed(path, next_step=""))
    change(data)
    write_sealed(path, json.dumps(data, indent=2))


def forge_output(receipt: dict[str, Any]) -> None:
    for output in receipt["outputs"].values():
        output["sha256"] = "0" * 64


@pytest.mark.parametrize(
    ("stage", "damage", "said"),
    [
        ("vae_decode", lambda run: run.video_file.write_bytes(b"other"), "video.mp4 has 5 bytes, its receipt says"),
        ("vae_decode", lambda run: run.video_file.unlink(), "video.mp4 is missing"),
        ("refiner", lambda run: run.receipt_file("refiner").unlink(), "no receipt: the stage is not finished"),
        ("stage1", lambda run: run.receipt_file("stage1").write_text("{"), "stage1.json is damaged"),
        (
            "stage1",
            lambda run: edit(run.manifest_file, lambda data: data["stage1"].update(seed=43)),
            "manifest field changed: stage1.seed: 42 -> 43",
        ),
        (
            "refiner",
            lambda run: edit(run.receipt_file("stage1"), forge_output),
            "its input latents/stage1.safetensors is not the one it was made from",
        ),
    ],
)
def test_what_does_not_match_a_receipt_is_found(
    copy: RunDirectory, stage: Stage, damage: Callable[[RunDirectory], object], said: str
) -> None:
    assert [facts.findings for facts in gather_run_facts(copy).stages if facts.findings] == []
    damage(copy)
    found = {facts.stage: facts.findings for facts in gather_run_facts(copy).stages}
    assert any(said in finding for finding in found[stage])


def test_warnings_of_a_receipt_are_on_the_page_as_text(
    copy: RunDirectory, sana_wm: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    edit(copy.receipt_file("vae_decode"), lambda data: data.update(warnings=["frames 3-5 black", "<b>bold</b>"]))
    page = tmp_path / "page.html"
    assert sana_wm("report", copy.path, "-o", page)[0] == 0
    assert "<li>vae_decode: frames 3-5 black</li><li>vae_decode: &lt;b&gt;bold&lt;/b&gt;</li>" in page.read_text()


def test_a_page_is_written_of_whatever_is_left_and_says_what_is_missing(
    copy: RunDirectory, sana_wm: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    copy.video_file.unlink()
    copy.contact_sheet_file.unlink()
    copy.stage1_file.unlink()
    copy.refined_file.write_bytes(b"half")
    copy.receipt_file("vae_decode").unlink()
    copy.metrics_file.write_text("[")
    shutil.rmtree(copy.path / "events")
    edit(copy.manifest_file, lambda data: data["camera"].update(action="w-8"))
    page = tmp_path / "out" / "page.html"
    code, out, err = sana_wm("report", copy.path, "-o", page)
    assert code == 0, err
    assert str(page) in out
    assert (tmp_path / "out" / "page-memory.png").is_file()
    words = words_of(Elements(page.read_text(encoding="utf-8")))
    for said in (
        "Not finished",
        "There is no video.mp4 yet.",
        "There is no contact_sheet.png yet.",
        "refined.safetensors cannot be read",
        "no receipt: the stage is not finished",
        "This run has left no memory log",
        "the camera path has 9 poses; got 57",
    ):
        assert said in words


def test_no_file_of_the_users_is_replaced(
    copy: RunDirectory, sana_wm: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    code, _, err = sana_wm("report", copy.path, "-o", mine)
    assert (code, mine.read_text()) == (2, "mine")
    assert "is there already" in err
    code, _, err = sana_wm("report", copy.path, "-o", tmp_path / "manifest.json")
    assert code == 2
    assert "expected .html" in err
    assert sana_wm("report", copy.path, "-o", mine, "--force")[0] == 0
    assert mine.read_text() != "mine"


def test_a_folder_that_is_no_run_is_refused(sana_wm: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, err = sana_wm("report", tmp_path)
    assert code == 4
    assert "is not a run directory" in err


def test_reports_that_are_written_at_once_all_succeed(finished_run: Path, tmp_path: Path) -> None:
    run = RunDirectory(Path(shutil.copytree(finished_run, tmp_path / "run")))
    command = [sys.executable, "-m", "sana_wm", "report", str(run.path)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, said
    Elements(run.report_file.read_text())
    assert [path.name for path in run.path.iterdir() if is_part(path)] == []
