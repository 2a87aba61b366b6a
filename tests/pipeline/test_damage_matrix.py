"""Every artefact and receipt of a finished run, damaged in every way: always refused by name, never a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_wm.errors import HandoffError
from sana_wm.names import Stage
from sana_wm.runs.receipts import read_receipt, write_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.sealed import unseal
from sana_wm.runs.verify import verify
from sana_wm.video.encoder import VideoEncoder

SanaWM = Callable[..., tuple[int, str, str]]
#: Each with the first link that must break (any, for the manifest: another run's shows in the first settings), and the
#: stage that runs again for it.
ARTEFACTS: dict[str, tuple[str, Stage | None]] = {
    "manifest.json": ("", None),
    "receipts/stage1.json": ("stage1/", "stage1"),
    "receipts/refiner.json": ("refiner/", "refiner"),
    "receipts/vae_decode.json": ("vae_decode/", "vae_decode"),
    "latents/conditioning.safetensors": ("stage1/outputs", "stage1"),
    "latents/stage1.safetensors": ("stage1/outputs", "stage1"),
    "latents/refiner_text.safetensors": ("refiner/outputs", "refiner"),
    "latents/refined.safetensors": ("refiner/outputs", "refiner"),
    "video.mp4": ("vae_decode/outputs", "vae_decode"),
    "contact_sheet.png": ("vae_decode/outputs", "vae_decode"),
    "metrics.json": ("metrics", None),
}


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def flip_data(path: Path, _other: Path) -> None:
    flip(path, path.stat().st_size * 3 // 4)


def flip_metadata(path: Path, _other: Path) -> None:
    """In the seal of JSON, the header of safetensors, the first box or chunk of a video or picture."""
    flip(path, 30)


def truncate(path: Path, _other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def extend(path: Path, _other: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def empty(path: Path, _other: Path) -> None:
    path.write_bytes(b"")


def replace(path: Path, other: Path) -> None:
    shutil.copy(other, path)


def delete(path: Path, _other: Path) -> None:
    path.unlink()


DAMAGES = (flip_data, flip_metadata, truncate, extend, empty, replace, delete)


@pytest.fixture(scope="module")
def another(
    finished_run: Path, tmp_path_factory: pytest.TempPathFactory, edit_run_manifest: Callable[..., None]
) -> Path:
    """Whole files of a run with other seeds and another text, as this package writes them."""
    import torch

    from sana_wm.runtime.latents import load_tensors, save_tensors

    folder = tmp_path_factory.mktemp("another") / "run"
    shutil.copytree(finished_run, folder)
    run = RunDirectory(folder)
    edit_run_manifest(folder, name="another", stage1__seed=1, refiner__seed=1)
    for path in (folder / "latents").iterdir():
        tensors = {name: tensor.clone() for name, tensor in load_tensors(path, {}).items()}
        save_tensors(path, tensors | {"latents": torch.zeros(1)}, {"stage": "another"})
    with VideoEncoder(run.video_file, width=96, height=64, fps=16) as encoder:
        encoder.put(np.zeros((4, 64, 96, 3), np.uint8))
    Image.new("RGB", (64, 64)).save(run.contact_sheet_file)
    stages: tuple[Stage, ...] = ("stage1", "refiner", "vae_decode")
    for stage in stages:
        receipt = read_receipt(run, stage)
        assert receipt is not None
        settings = {name: 1 if name.endswith("seed") else value for name, value in receipt.settings.items()}
        write_receipt(run, receipt.model_copy(update={"settings": settings | {"name": "another"}, "seconds": 1.0}))
    from sana_wm.runs.metrics import write_metrics

    write_metrics(run, run.read_manifest(), list(stages), 1.0)
    return folder


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ARTEFACTS)
def test_a_damaged_file_is_refused_by_name(
    name: str,
    damage: Callable[[Path, Path], None],
    finished_run: Path,
    another: Path,
    tmp_path: Path,
    sana_wm: SanaWM,
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished_run, run.path)
    damage(run.path / name, another / name)
    link, stage = ARTEFACTS[name]
    code, out, err = sana_wm("verify", run.path)
    assert code == 4, out
    broken = [line for line in out.splitlines() if "BROKEN" in line] or [err]
    assert broken[0].startswith(link), out + err
    code, out, _ = sana_wm("resume", run.path, "--dry-run")
    if name == "manifest.json":
        assert code == 4
    elif damage is replace and name.startswith("receipts"):
        assert code == 4  # its settings are not the manifest's
    else:
        assert code == 0
        again = [line.split()[0] for line in out.splitlines() if line.split()[1] == "run"]
        assert again[:1] == ([stage] if stage else [])


def test_no_single_bit_of_a_sealed_file_can_change(finished_run: Path) -> None:
    for name in ("receipts/vae_decode.json", "receipts/stage1.json"):
        sealed = bytearray((finished_run / name).read_bytes())
        unseal(bytes(sealed))
        for bit in range(8 * len(sealed)):
            sealed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(ValueError, match="SHA-256"):
                unseal(bytes(sealed))
            sealed[bit // 8] ^= 1 << bit % 8


def test_no_bit_of_a_latents_file_can_change_unnoticed(finished_run: Path, tmp_path: Path) -> None:
    """By the reader itself, whoever calls it: a sample over the whole header and the numbers."""
    from sana_wm.runtime.latents import load_tensors

    original = (finished_run / "latents" / "stage1.safetensors").read_bytes()
    path = tmp_path / "stage1.safetensors"
    path.write_bytes(original)
    load_tensors(path, {})
    header_bytes = 8 + int.from_bytes(original[:8], "little")
    dice = np.random.default_rng(7)
    positions = [*range(header_bytes), *dice.integers(header_bytes, len(original), 50).tolist()]
    for position in positions:
        data = bytearray(original)
        data[position] ^= 1 << int(dice.integers(8))
        path.write_bytes(data)
        with pytest.raises(HandoffError) as caught:
            load_tensors(path, {})
        assert caught.value.exit_code == 4


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    import torch

    from sana_wm.runtime.checkpoints import Checkpoints

    for damage in DAMAGES:
        checkpoints = Checkpoints(tmp_path / damage.__name__, {"stage": "stage1"})
        for step in (1, 2):
            checkpoints.save(step, {"latents": torch.full((64,), float(step))})
        checkpoints.wait()
        other = tmp_path / "other"
        Checkpoints(other, {"stage": "refiner"})._write(2, {"latents": torch.zeros(64)})
        damage(checkpoints.folder / "00002.safetensors", other / "00002.safetensors")
        newest = checkpoints.load_newest()
        assert newest is not None
        assert newest[0] == 1, damage.__name__
        assert newest[1]["latents"].eq(1).all()


def test_weights_and_inputs_are_links_too(
    finished_run: Path, tmp_path: Path, edit_run_manifest: Callable[..., None]
) -> None:
    """Changed ones break the chain; absent ones, on a volume that is not mounted, cannot be looked at."""
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished_run, run.path)
    manifest = run.read_manifest()
    weights, picture = tmp_path / "weights", tmp_path / "picture.png"
    shutil.copytree(manifest.model.root, weights)
    shutil.copy(manifest.input.image, picture)
    edit_run_manifest(
        run.path,
        model__root=str(weights),
        model__refiner_root=str(weights / "refiner"),
        **{"inputs__input.image__path": str(picture)},
    )

    def not_holding() -> dict[str, str]:
        return {link.name: link.state for link in verify(run) if link.state != "holds"}

    assert not_holding() == {}
    flip(next((weights / "transformer").glob("*.safetensors")), 30)
    flip(picture, -1)
    assert not_holding() == {"stage1/weights": "broken", "stage1/inputs": "broken"}
    broken = next(link for link in verify(run) if link.state == "broken")
    assert broken.invalidates == ("stage1", "refiner", "vae_decode")
    shutil.rmtree(weights)
    picture.unlink()
    assert not_holding() == {
        "stage1/weights": "unchecked",
        "stage1/inputs": "unchecked",
        "refiner/weights": "unchecked",
        "vae_decode/weights": "unchecked",
    }


def test_a_bit_between_the_samples_of_the_weights_shows_in_their_full_hash(
    finished_run: Path, tmp_path: Path, edit_run_manifest: Callable[..., None], sana_wm: SanaWM
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished_run, run.path)
    weights = tmp_path / "weights"
    shutil.copytree(run.read_manifest().model.root, weights)
    edit_run_manifest(run.path, model__root=str(weights), model__refiner_root=str(weights / "refiner"))
    code, out, _ = sana_wm("verify", run.path, "--hash-weights")
    assert code == 0
    assert "SHA-256 recorded now" in out
    shard = next(path for path in (weights / "transformer").glob("*.safetensors"))
    flip(shard, -1)
    code, _, _ = sana_wm("verify", run.path)
    assert code == 0
    code, out, _ = sana_wm("verify", run.path, "--hash-weights")
    assert code == 4
    (broken,) = (line for line in out.splitlines() if "BROKEN" in line)
    assert broken.startswith(f"transformer/{shard.name}")
    assert "recorded was" in broken


def test_a_run_that_was_stopped_is_unfinished_not_broken(finished_run: Path, tmp_path: Path, sana_wm: SanaWM) -> None:
    run = RunDirectory(shutil.copytree(finished_run, tmp_path / "a run"))
    run.metrics_file.unlink()
    run.receipt_file("vae_decode").unlink()
    code, out, err = sana_wm("verify", run.path)
    assert code == 4
    assert "BROKEN" not in out
    assert "is not finished; what is there is whole" in err
    assert f"sana-wm resume '{run.path}'" in err  # can be pasted


def test_verify_says_it_as_json_too(finished_run: Path, tmp_path: Path, sana_wm: SanaWM) -> None:
    code, out, _ = sana_wm("verify", finished_run, "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)
    shutil.copytree(finished_run, tmp_path / "run")
    (tmp_path / "run" / "latents" / "refined.safetensors").unlink()
    code, out, _ = sana_wm("verify", tmp_path / "run", "--json")
    found = json.loads(out)
    assert (code, found["ok"]) == (4, False)
    (broken,) = (link for link in found["links"] if link["state"] == "broken")
    assert (broken["name"], broken["invalidates"]) == ("refiner/outputs", ["refiner", "vae_decode"])
    assert broken["detail"] == "latents/refined.safetensors is missing"
    code, _, err = sana_wm("verify", tmp_path)
    assert code == 4
    assert "is not a run directory" in err
