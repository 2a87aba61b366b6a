from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from tests.weights.quiet import Quiet

from sana_wm.errors import DownloadError
from sana_wm.models.refiner.stored_weights import index_weights
from sana_wm.names import STAGES, Stage
from sana_wm.variants import MODELS
from sana_wm.weights import download_problems, needed_files
from sana_wm.weights.check import check_layout
from sana_wm.weights.download import DownloadPlan, plan_download, run_download
from sana_wm.weights.facts import model_facts
from sana_wm.weights.hub import Hub
from sana_wm.weights.layout import REFINER_RULES, resolve_layout
from sana_wm.weights.places import WeightPlaces, places_in
from sana_wm.weights.record import read_record

EVERY_STAGE = STAGES
TRANSFORMER = "refiner/transformer/diffusion_pytorch_model"
AUDIO_SHARD = f"{TRANSFORMER}-00002-of-00003.safetensors"


def shard_refiner(folder: Path) -> None:
    """Shard the refiner anew so that the second of three shards holds audio tensors only."""
    tensors: dict[str, Any] = {}
    for shard in folder.glob("*.safetensors"):
        tensors |= load_file(shard)
        shard.unlink()
    audio = [name for name in tensors if REFINER_RULES(name) is None]
    video = [name for name in tensors if REFINER_RULES(name) is not None]
    weight_map: dict[str, str] = {}
    for number, names in enumerate([[*video[:40], audio[0]], audio[1:], video[40:]], start=1):
        file_name = f"diffusion_pytorch_model-{number:05d}-of-00003.safetensors"
        save_file({name: tensors[name] for name in names}, folder / file_name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file_name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


@pytest.fixture(scope="module")
def remote(tiny_models: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by repository id: both layouts of the tiny checkpoint, as the hub would hold them."""
    base = tmp_path_factory.mktemp("remote")
    repositories: dict[str, Path] = {}
    for layout, section in tiny_models.items():
        for repository in model_facts().layouts["bidirectional"][layout]:  # pyright: ignore[reportArgumentType]
            folder = base / repository.repo_id
            shutil.copytree(section[repository.manifest_field], folder)
            repositories[repository.repo_id] = folder
    original = base / "Efficient-Large-Model/SANA-WM_bidirectional"
    shard_refiner(original / "refiner" / "transformer")
    (original / "vae" / "pytorch_model.bin").write_bytes(b"a pickle")
    (original / "vae" / "consolidated.safetensors").write_bytes(b"the same again")
    (original / "video.mp4").write_bytes(b"nothing to us")
    return repositories


class Machine:
    """Our side of a download."""

    def __init__(self, hub: Any, folder: Path, layout: Any = "original") -> None:
        self.places: WeightPlaces = places_in(folder, layout)
        self.said: list[str] = []
        self.view = Quiet()
        self.hub = Hub(self.said.append, endpoint=hub.endpoint, token=False, sleep=lambda _: None)

    def plan(self, stages: tuple[Stage, ...] = EVERY_STAGE, **options: Any) -> DownloadPlan:
        return plan_download(self.hub, self.places, stages, self.view, **options)

    def download(self, stages: tuple[Stage, ...] = EVERY_STAGE, **options: Any) -> DownloadPlan:
        plan = self.plan(stages, **options)
        run_download(self.hub, plan, self.view)
        return plan


@pytest.fixture
def local_hub(hub: Any, remote: dict[str, Path]) -> Any:
    hub.repositories.update(remote)
    return hub


@pytest.fixture
def machine(local_hub: Any, tmp_path: Path) -> Machine:
    return Machine(local_hub, tmp_path / "weights")


def fetched(hub: Any) -> set[str]:
    return {entry.name for entry in hub.sent}


@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_what_is_downloaded_can_be_loaded(local_hub: Any, tmp_path: Path, layout: str):
    machine = Machine(local_hub, tmp_path, layout)
    machine.download()
    assert check_layout(machine.places.layout(), EVERY_STAGE) == []
    assert list(tmp_path.rglob("*.part*")) == []


def test_fifty_cut_connections_end_in_a_verified_copy_of_everything(local_hub: Any, machine: Machine):
    local_hub.cut_after_bytes, local_hub.cuts_left = 60_000, 50
    plan = machine.download()
    assert local_hub.cuts_left == 0
    assert check_layout(machine.places.layout(), EVERY_STAGE) == []
    for file in plan.files:
        assert local_hub.sent_bytes_of(file.remote.name) % file.remote.size_bytes == 0
    assert sum(entry.sent_bytes for entry in local_hub.sent) == sum(file.remote.size_bytes for file in plan.files)


def test_shards_that_nothing_reads_are_left_out_and_counted(
    local_hub: Any, machine: Machine, remote: dict[str, Path], tmp_path: Path
):
    plan = machine.download(("refiner",))
    (skipped,) = plan.skipped
    assert (skipped.name, skipped.why) == (AUDIO_SHARD, "holds only tensors that nothing reads")
    size = (remote["Efficient-Large-Model/SANA-WM_bidirectional"] / AUDIO_SHARD).stat().st_size
    assert plan.skipped_bytes == size > 10_000
    assert AUDIO_SHARD not in fetched(local_hub)
    layout = machine.places.layout()
    assert check_layout(layout, ("refiner",)) == []
    whole = resolve_layout("original", remote["Efficient-Large-Model/SANA-WM_bidirectional"], tmp_path)
    assert index_weights(layout.refiner_transformer).keys() == index_weights(whole.refiner_transformer).keys()


def test_only_what_the_stages_read_comes(local_hub: Any, machine: Machine):
    plan = machine.download(("vae_decode",))
    assert fetched(local_hub) == {"vae/config.json", "vae/diffusion_pytorch_model.safetensors"}
    assert {(file.name, file.why) for file in plan.skipped} == {
        ("vae/pytorch_model.bin", "not a safetensors file"),
        ("vae/consolidated.safetensors", "not part of this layout"),
    }
    assert not any("gemma" in line for line in local_hub.requests)


def test_a_second_download_fetches_nothing(local_hub: Any, machine: Machine):
    machine.download()
    local_hub.sent.clear()
    plan = machine.download()
    assert local_hub.sent == []
    assert plan.missing_bytes == 0


def test_files_that_another_tool_downloaded_are_hashed_and_kept(
    local_hub: Any, machine: Machine, remote: dict[str, Path]
):
    shutil.copytree(remote["Efficient-Large-Model/SANA-WM_bidirectional"] / "vae", machine.places.root / "vae")
    machine.download(("vae_decode",))
    assert local_hub.sent == []
    record = read_record(machine.places.root)
    assert record is not None
    assert set(record.files) == {"vae/config.json", "vae/diffusion_pytorch_model.safetensors"}


def test_a_large_file_that_is_recorded_is_not_hashed_again(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(needed_files, "ALWAYS_HASHED_BYTES", 10_000)
    machine.download(("vae_decode",))
    machine.view.begun.clear()
    machine.download(("vae_decode",))
    assert machine.view.begun == [("checking", "vae/config.json")]


def test_a_file_of_the_users_own_is_not_replaced_unasked(local_hub: Any, machine: Machine):
    machine.download(("vae_decode",))
    shard = machine.places.root / "vae" / "diffusion_pytorch_model.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(b"my own")
    with pytest.raises(DownloadError, match="not the hub's") as caught:
        machine.download(("vae_decode",))
    assert [problem.field for problem in caught.value.problems] == [str(shard)]
    assert shard.read_bytes() == b"my own"
    machine.download(("vae_decode",), replace=True)
    assert shard.read_bytes() == whole


def test_an_index_of_the_users_own_is_not_replaced_unasked(machine: Machine):
    machine.download(("refiner",))
    index = machine.places.root / f"{TRANSFORMER}.safetensors.index.json"
    whole = index.read_text()
    index.write_text('{"weight_map": {}}')
    with pytest.raises(DownloadError, match="not the hub's"):
        machine.download(("refiner",))
    machine.download(("refiner",), replace=True)
    assert index.read_text() == whole


def test_replacing_mends_damage_that_leaves_the_size_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(needed_files, "ALWAYS_HASHED_BYTES", 10_000)
    machine.download(("vae_decode",))
    shard = machine.places.root / "vae" / "diffusion_pytorch_model.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    machine.download(("vae_decode",), replace=True)
    assert shard.read_bytes() == whole


def test_every_gate_shows_before_the_first_byte(local_hub: Any, machine: Machine):
    local_hub.refusals["Efficient-Large-Model/gemma-2-2b-it/auth-check"] = (403, {"X-Error-Code": "GatedRepo"})
    del local_hub.repositories["Efficient-Large-Model/SANA-WM_bidirectional"]
    with pytest.raises(DownloadError) as caught:
        machine.download()
    assert [(problem.field, problem.what) for problem in caught.value.problems] == [
        ("Efficient-Large-Model/SANA-WM_bidirectional", "there is no such repository, or your login may not see it"),
        ("Efficient-Large-Model/gemma-2-2b-it", "this repository asks you to accept its terms first"),
    ]
    assert local_hub.sent == []


def test_a_repository_without_a_file_that_the_layout_needs_is_explained(
    local_hub: Any, machine: Machine, remote: dict[str, Path], tmp_path: Path
):
    moved = tmp_path / "moved"
    shutil.copytree(remote["Efficient-Large-Model/SANA-WM_bidirectional"], moved)
    (moved / "vae" / "diffusion_pytorch_model.safetensors").rename(moved / "vae" / "vae.safetensors")
    local_hub.repositories["Efficient-Large-Model/SANA-WM_bidirectional"] = moved
    with pytest.raises(DownloadError) as caught:
        machine.download(("vae_decode",))
    (problem,) = caught.value.problems
    assert problem.what == "the hub has no diffusion_pytorch_model.safetensors for it"
    assert "vae.safetensors" in (problem.got or "")


def test_too_little_room_stops_it_before_the_first_byte(machine: Machine, local_hub: Any, monkeypatch: Any):
    monkeypatch.setattr(download_problems, "RESERVE_BYTES", 10**18)
    with pytest.raises(DownloadError, match="too little free space") as caught:
        machine.download(("vae_decode",))
    assert "--in" in str(caught.value)
    assert local_hub.sent == []
    assert not machine.places.root.exists()


def test_every_volume_needs_room_of_its_own(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as other:
        if Path(other).stat().st_dev == machine.places.root.parent.parent.stat().st_dev:
            pytest.skip("there is only one volume here")
        machine.places = dataclasses.replace(machine.places, gemma_root=Path(other))
        monkeypatch.setattr(download_problems, "RESERVE_BYTES", 10**18)
        with pytest.raises(DownloadError) as caught:
            machine.plan(("stage1",))
        assert [problem.what for problem in caught.value.problems] == ["too little free space on this volume"] * 2
        assert other in {problem.field for problem in caught.value.problems}


def test_room_is_counted_for_what_is_missing_only(machine: Machine, monkeypatch: pytest.MonkeyPatch):
    machine.download(("vae_decode",))
    monkeypatch.setattr(download_problems, "RESERVE_BYTES", 10**18)
    machine.download(("vae_decode",))


def test_weights_may_lie_behind_links_to_another_volume(machine: Machine, tmp_path: Path):
    (tmp_path / "volume").mkdir()
    machine.places.root.parent.mkdir()
    machine.places.root.symlink_to(tmp_path / "volume")
    machine.download(("vae_decode",))
    assert (tmp_path / "volume" / "vae" / "config.json").is_file()


def test_a_link_to_a_volume_that_is_not_connected_is_no_missing_file(machine: Machine):
    folder = machine.places.root / "vae"
    folder.mkdir(parents=True)
    (folder / "diffusion_pytorch_model.safetensors").symlink_to("/nowhere/vae.safetensors")
    with pytest.raises(DownloadError, match="leads nowhere"):
        machine.download(("vae_decode",))


def test_a_plan_alone_changes_nothing(machine: Machine, tmp_path: Path):
    plan = machine.plan(index_places=places_in(tmp_path / "scratch", "original"))
    assert plan.missing_bytes == sum(file.remote.size_bytes for file in plan.files) > 0
    assert [file.name for file in plan.skipped if file.name == AUDIO_SHARD]
    assert not machine.places.root.exists()


@pytest.fixture
def command(local_hub: Any, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `sana-wm weights …` in a process of its own, against the local hub."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "sana_wm", "weights", *arguments]
        environment = environment_for(local_hub, tmp_path) | variables
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def environment_for(hub: Any, home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    return (
        kept
        | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
        | {"XDG_CONFIG_HOME": str(home / "settings")}
    )


def test_the_command_downloads_lists_and_verifies(command: Any, local_hub: Any, tmp_path: Path):
    planned = command("download", "--layout", "original", "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    assert not (tmp_path / "weights").exists()
    assert json.loads(planned.stdout)["missing_bytes"] > 0

    done = command("download", "--layout", "original")
    assert done.returncode == 0, done.stderr
    assert "left out, " in done.stderr
    assert f"{AUDIO_SHARD} (holds only tensors that nothing reads)" in done.stderr
    assert json.loads(done.stdout)["model"] == {
        "variant": "bidirectional",
        "layout": "original",
        "root": str(tmp_path / "weights" / "SANA-WM_bidirectional"),
        "gemma_root": str(tmp_path / "weights" / "gemma-2-2b-it"),
        "refiner_root": None,
    }
    listed = json.loads(command("list", "--json").stdout)
    assert {row["pattern"] for row in listed["files"] if row["state"] != "here"} == {
        "refiner/tokenizer/*",
        "special_tokens_map.json",
    }

    offline = command("download", HF_HUB_OFFLINE="1")
    assert (offline.returncode, "everything is here already" in offline.stderr) == (0, True)

    verified = command("verify")
    assert verified.returncode == 0, verified.stderr
    assert "ok " in verified.stdout
    assert "BAD" not in verified.stdout


def test_a_manifest_gets_what_it_names_where_it_names_it(command: Any, write_manifest: Any, tmp_path: Path):
    model = {"layout": "original", "root": "here", "gemma_root": "there", "refiner_root": "volume/refiner"}
    manifest = write_manifest(model=model)
    done = command("download", "--manifest", str(manifest), "--json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "volume" / "refiner" / "connectors" / "config.json").is_file()
    assert not (tmp_path / "here" / "refiner").exists()
    verified = command("verify", "--manifest", str(manifest), "--json")
    assert verified.returncode == 0, verified.stderr
    assert {file["sha256"] for file in json.loads(verified.stdout)["files"]} == {"right"}


def test_a_first_download_is_the_smaller_layout_and_every_command_finds_it_again(command: Any, tmp_path: Path):
    done = command("download", "--in", "ssd")
    assert done.returncode == 0, done.stderr
    section = json.loads(done.stdout)["model"]
    assert section["layout"] == MODELS["bidirectional"].layout == "diffusers"
    assert not list((tmp_path / "ssd").rglob("gemma-2-2b-it")), "the only repository that Gemma's own gate is on"
    for line in (["list"], ["verify", "--quick"], ["download", "--dry-run"]):
        again = command(*line, "--json")
        assert again.returncode == 0, again.stderr
        assert f"note: weights: {tmp_path / 'ssd'}, from the place that was remembered" in again.stderr
        assert str(tmp_path / "ssd" / "SANA-WM_bidirectional-diffusers") in again.stdout
    assert json.loads(again.stdout)["missing_bytes"] == 0
    shutil.move(tmp_path / "ssd", tmp_path / "unplugged")
    gone = command("list")
    assert f"{tmp_path / 'ssd'}, which was remembered, holds no weights" in gone.stderr
    assert "of which 0 B are here" in gone.stdout


def test_on_a_terminal_bars_show_the_file_and_all_files(local_hub: Any, tmp_path: Path):
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "sana_wm", "weights", "download", "--stages", "vae_decode"]
    environment = environment_for(local_hub, tmp_path) | {"TERM": "xterm", "COLUMNS": "150"}
    with (tmp_path / "model.json").open("w") as output:
        process = subprocess.Popen(line, cwd=tmp_path, env=environment, stderr=theirs, stdout=output)
    os.close(theirs)
    screen = b""
    with contextlib.suppress(OSError):  # what reading says once the other side is closed
        while piece := os.read(ours, 4096):
            screen += piece
    os.close(ours)
    assert process.wait() == 0
    text = screen.decode()
    assert "fetching vae/diffusion_pytorch_model.safetensors" in text
    assert "all files" in text
    assert "everything that vae_decode reads is here, and whole" in text


def test_offline_with_something_missing_is_an_error_of_the_weights(command: Any):
    done = command("download", "--stages", "vae_decode", HF_HUB_OFFLINE="1")
    assert done.returncode == 3
    assert "offline mode forbids" in done.stderr


def test_a_killed_download_goes_on_in_the_next_process(command: Any, local_hub: Any, tmp_path: Path):
    local_hub.pause = lambda: time.sleep(0.02)
    line = [sys.executable, "-m", "sana_wm", "weights", "download", "--stages", "vae_decode"]
    process = subprocess.Popen(line, cwd=tmp_path, env=environment_for(local_hub, tmp_path), stderr=subprocess.DEVNULL)
    shard = "vae/diffusion_pytorch_model.safetensors"
    while local_hub.sent_bytes_of(shard) < 200_000 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (part,) = (tmp_path / "weights").rglob("*.part")
    kept_bytes = part.stat().st_size
    assert kept_bytes >= 100_000
    local_hub.pause = lambda: None
    done = command("download", "--stages", "vae_decode")
    assert done.returncode == 0, done.stderr
    assert [entry.start_bytes for entry in local_hub.sent if entry.name == shard] == [0, kept_bytes]


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(local_hub: Any, tmp_path: Path):
    local_hub.pause = lambda: time.sleep(0.02)
    line = [sys.executable, "-m", "sana_wm", "weights", "download", "--stages", "vae_decode"]
    environment = environment_for(local_hub, tmp_path)
    process = subprocess.Popen(line, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    while local_hub.sent_bytes_of("vae/diffusion_pytorch_model.safetensors") < 100_000 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "goes on where it stopped" in said
    assert "Traceback" not in said
