"""The student's weights from a hub: fetched, linked where they are here, converted, listed, verified."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.weights.quiet import Quiet

from sana_wm.durable import sha256_of
from sana_wm.names import STAGES
from sana_wm.weights import twins as twins_module
from sana_wm.weights.conversion import CONVERSION_NAME
from sana_wm.weights.download import plan_download, run_download
from sana_wm.weights.facts import model_facts
from sana_wm.weights.hub import Hub
from sana_wm.weights.layout import resolve_layout
from sana_wm.weights.places import WeightPlaces, places_in
from sana_wm.weights.record import RecordedFile, WeightRecord, write_record
from sana_wm.weights.streaming_checkpoint import convert_checkpoint
from sana_wm.weights.student import describe_student, find_strangers
from sana_wm.weights.tiny import write_tiny_checkpoint

NVIDIA = "Efficient-Large-Model/SANA-WM_streaming"
CONNECTORS = "refiner_diffusers/connectors/diffusion_pytorch_model.safetensors"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by repository id, as NVIDIA has them: the checkpoint, and nothing that it was converted to."""
    base = tmp_path_factory.mktemp("remote")
    section = write_tiny_checkpoint(base / "tiny", "original", variant="streaming").as_manifest_section()
    folders: dict[str, Path] = {}
    for repository in model_facts().layouts["streaming"]["original"]:
        folder = section[repository.manifest_field]
        assert folder is not None
        folders[repository.repo_id] = Path(folder)
    dit = folders[NVIDIA] / "sana_dit"
    for path in dit.iterdir():
        if path.name not in ("model.pt", "config.json"):
            path.unlink()
    return folders


@pytest.fixture
def places(hub: Any, remote: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightPlaces:
    hub.repositories.update(remote)
    monkeypatch.setattr(twins_module, "MIN_SHARED_BYTES", 1024)
    return places_in(tmp_path / "weights", "original", "streaming")


def fetch(hub: Any, places: WeightPlaces, **options: Any) -> tuple[dict[str, Path | None], list[str]]:
    """Download; the twin of each file, and what was said."""
    said: list[str] = []
    client = Hub(said.append, endpoint=hub.endpoint, token=False, sleep=lambda _: None)
    plan = plan_download(client, places, STAGES, Quiet(), **options)
    run_download(client, plan, Quiet())
    return {file.remote.name: file.twin for file in plan.files}, said


@pytest.fixture
def run(hub: Any, remote: dict[str, Path], tmp_path: Path) -> Run:
    hub.repositories.update(remote)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    ours = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "sana_wm", "weights", *arguments]
        return subprocess.run(line, cwd=tmp_path, env=kept | ours, capture_output=True, text=True, check=False)

    return command


def test_the_student_is_fetched_converted_listed_and_verified(run: Run, hub: Any, tmp_path: Path) -> None:
    done = run("download", "--variant", "streaming")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"]["variant"] == "streaming"
    assert "beside the student it held critic" in done.stderr
    dit = tmp_path / "weights" / "SANA-WM_streaming" / "sana_dit"
    assert (dit / CONVERSION_NAME).is_file()
    (dit / "model.pt").unlink()
    hub.sent.clear()
    again = run("download", "--variant", "streaming")  # what was converted does not come again
    assert again.returncode == 0, again.stderr
    assert hub.sent == []
    listed = json.loads(run("list", "--variant", "streaming", "--json").stdout)
    assert listed["variant"] == "streaming"
    assert {row["state"] for row in listed["files"]} <= {"here", "optional"}
    verified = run("verify", "--variant", "streaming", "--json")
    assert json.loads(verified.stdout)["ok"] is True, verified.stdout
    shard = next(dit.glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert run("verify", "--variant", "streaming").returncode == 3


@pytest.mark.parametrize("place", ["beside", "reused"])
def test_a_file_that_is_here_under_another_name_is_linked(
    hub: Any, remote: dict[str, Path], places: WeightPlaces, tmp_path: Path, place: str
) -> None:
    folder = tmp_path / ("weights/SANA-WM_bidirectional" if place == "beside" else "elsewhere")
    twin = folder / "refiner" / "connectors" / "some.safetensors"
    twin.parent.mkdir(parents=True)
    shutil.copy(remote[NVIDIA] / CONNECTORS, twin)
    found, said = fetch(hub, places, reuse=[] if place == "beside" else [folder])
    assert found[CONNECTORS] == twin
    assert CONNECTORS not in {entry.name for entry in hub.sent}
    assert (places.root / CONNECTORS).samefile(twin)
    assert any("not fetched" in line for line in said)


def test_a_file_of_the_same_name_and_size_and_other_bytes_is_no_twin(
    hub: Any, remote: dict[str, Path], places: WeightPlaces, tmp_path: Path
) -> None:
    other = tmp_path / "weights" / "SANA-WM_bidirectional" / CONNECTORS
    other.parent.mkdir(parents=True)
    data = bytearray((remote[NVIDIA] / CONNECTORS).read_bytes())
    data[-1] ^= 1
    other.write_bytes(data)
    found, _ = fetch(hub, places)
    assert found[CONNECTORS] is None
    assert (places.root / CONNECTORS).read_bytes() == (remote[NVIDIA] / CONNECTORS).read_bytes()


def test_what_the_files_decide_is_read_from_them_and_said(
    hub: Any, remote: dict[str, Path], places: WeightPlaces, tmp_path: Path
) -> None:
    other = tmp_path / "weights" / "SANA-WM_bidirectional"
    (other / "refiner").mkdir(parents=True)
    shutil.copy(remote[NVIDIA] / CONNECTORS, other / "refiner" / "connectors.safetensors")
    digest = sha256_of(remote[NVIDIA] / CONNECTORS)
    file = RecordedFile(size_bytes=(remote[NVIDIA] / CONNECTORS).stat().st_size, sha256=digest)
    write_record(other, WeightRecord(repo_id="a/b", commit="c", files={"refiner/connectors.safetensors": file}))
    fetch(hub, places)
    (unconverted,) = find_strangers(places.layout())
    assert unconverted.what == "this checkpoint was not converted"
    convert_checkpoint(places.root / "sana_dit" / "model.pt", places.root / "sana_dit")
    assert list(find_strangers(places.layout())) == []
    said = "\n".join(describe_student(places.layout()))
    assert "chunks of 3 latent frames, a window of 2 chunks with the first, timesteps 1000, 960, 889, 727" in said
    assert "decoder_causal True" in said
    assert "connectors: the same bytes as SANA-WM_bidirectional/refiner/connectors.safetensors" in said
    assert "vae: 1 of 1 files are no other model's that is here" in said


def test_the_student_under_the_other_models_name_is_told(remote: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(remote[NVIDIA], tmp_path / "weights")
    convert_checkpoint(root / "sana_dit" / "model.pt", root / "sana_dit")
    (root / "sana_dit").rename(root / "transformer")
    config = json.loads((root / "transformer" / "config.json").read_text())
    config["ffn_type"] = "CachedGLUMBConvTemp"  # as conversions of others say it
    (root / "transformer" / "config.json").write_text(json.dumps(config))
    (stranger,) = find_strangers(resolve_layout("diffusers", root))
    assert stranger.what == "these are the weights of the streaming model"
    assert list(find_strangers(resolve_layout("diffusers", root, root, variant="streaming"))) == []
