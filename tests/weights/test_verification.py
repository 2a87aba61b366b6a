from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sana_wm.names import STAGES
from sana_wm.weights.inventory import InventoryRow, list_weights
from sana_wm.weights.places import WeightPlaces, places_in
from sana_wm.weights.record import RECORD_NAME, RecordedFile, WeightRecord, write_record

EVERY_STAGE = STAGES
REPO_ID = "Efficient-Large-Model/SANA-WM_bidirectional"
VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tiny_models: dict[str, dict[str, Any]], tmp_path: Path) -> Path:
    """What `weights download --in` leaves, with its record, of a tiny checkpoint."""
    places = places_in(tmp_path, "original")
    for target, source in ((places.root, "root"), (places.gemma_root, "gemma_root")):
        assert target is not None
        shutil.copytree(tiny_models["original"][source], target)
        files = {
            path.relative_to(target).as_posix(): RecordedFile(
                size_bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
            )
            for path in target.rglob("*")
            if path.is_file()
        }
        repo_id = REPO_ID if source == "root" else "google/gemma-2-2b-it"
        write_record(target, WeightRecord(repo_id=repo_id, commit="0" * 40, files=files))
    return tmp_path


@pytest.fixture
def root(folder: Path) -> Path:
    """The folder of the SANA-WM repository."""
    return folder / "SANA-WM_bidirectional"


Verify = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def verify(sana_wm: Callable[..., tuple[int, str, str]], folder: Path) -> Verify:
    """`weights verify --json`: exit code and report."""

    def run(*options: str) -> tuple[int, dict[str, Any]]:
        code, out, _ = sana_wm("weights", "verify", "--in", folder, "--json", *options)
        return code, json.loads(out)

    return run


def states(report: dict[str, Any], root: Path) -> dict[str, str]:
    return {
        str(Path(file["path"]).relative_to(root)): file["sha256"]
        for file in report["files"]
        if Path(file["path"]).is_relative_to(root)
    }


def bad_files(report: dict[str, Any]) -> set[str]:
    return {file["path"] for file in report["files"] if file["problems"]}


def test_whole_weights_are_right_to_the_last_byte(verify: Verify):
    code, report = verify()
    assert (code, report["ok"], report["problems"]) == (0, True, [])
    assert {file["sha256"] for file in report["files"]} == {"right"}
    assert len(report["files"]) >= 10


def test_one_flipped_bit_names_its_shard_and_no_other(verify: Verify, root: Path):
    shard = next((root / "refiner" / "transformer").glob("*00002-of*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1000] ^= 1
    shard.write_bytes(content)
    code, report = verify()
    assert code == 3
    assert bad_files(report) == {str(shard)}
    assert [problem["what"] for problem in report["problems"]] == ["this file is damaged"]
    assert states(report, root)[str(shard.relative_to(root))] == "wrong"


def test_quick_reads_no_content_and_says_so(verify: Verify, root: Path):
    shard = root / VAE
    content = bytearray(shard.read_bytes())
    content[-1000] ^= 1
    shard.write_bytes(content)
    code, report = verify("--quick")
    assert code == 0
    assert {file["sha256"] for file in report["files"]} == {"unchecked"}


def test_a_short_file_is_named_once_with_its_header_as_witness(verify: Verify, root: Path):
    shard = root / VAE
    shard.write_bytes(shard.read_bytes()[:-100])
    code, report = verify()
    assert code == 3
    assert bad_files(report) == {str(shard)}
    (problem,) = report["problems"]
    assert "inside tensor" in problem["what"]


def test_a_config_of_another_size_is_found_though_no_header_tells(verify: Verify, root: Path):
    config = root / "vae" / "config.json"
    config.write_text(config.read_text() + "\n")
    for options in ((), ("--quick",)):
        code, report = verify(*options)
        assert (code, bad_files(report)) == (3, {str(config)})


def test_a_file_that_was_downloaded_and_is_gone_is_missed(verify: Verify, root: Path):
    (root / "refiner" / "text_encoder" / "tokenizer_config.json").unlink()
    code, report = verify("--stages", "refiner")
    assert code == 3
    assert "tokenizer_config.json" in report["problems"][0]["field"]


def test_only_the_files_of_the_stages_are_read(verify: Verify, root: Path):
    (root / "dit" / "sana_wm_1600m_720p.safetensors").unlink()
    code, report = verify("--stages", "vae_decode")
    assert code == 0
    assert set(states(report, root)) == {"vae/config.json", VAE}


def test_without_a_record_the_hash_is_unknown_and_headers_are_still_checked(
    sana_wm: Callable[..., tuple[int, str, str]], folder: Path, root: Path
):
    (root / RECORD_NAME).unlink()
    code, out, _ = sana_wm("weights", "verify", "--in", folder, "--stages", "vae_decode")
    assert code == 0
    assert "its hash is not known here" in out
    assert "asks the hub for unknown hashes" in out
    (root / VAE).write_bytes(b"\0" * 100)
    code, out, err = sana_wm("weights", "verify", "--in", folder, "--stages", "vae_decode")
    assert code == 3
    assert "BAD" in out
    assert "weights download --replace" in err


def test_a_damaged_record_is_an_error_that_says_what_to_do(verify: Verify, root: Path):
    (root / RECORD_NAME).write_text("{")
    code, report = verify("--stages", "vae_decode")
    assert code == 3
    assert "Delete it" in report["problems"][0]["next_step"]


def test_a_manifest_says_where_its_weights_lie(
    sana_wm: Callable[..., tuple[int, str, str]], write_manifest: Callable[..., Path]
):
    code, out, _ = sana_wm("weights", "verify", "--manifest", write_manifest(), "--quick")
    assert code == 0
    assert "sana_wm_1600m_720p.safetensors" in out
    code, _, err = sana_wm("weights", "verify", "--manifest", write_manifest(), "--in", "elsewhere")
    assert code == 2
    assert "--manifest says variant, layout and folders" in err


def test_an_unknown_stage_is_a_usage_error(sana_wm: Callable[..., tuple[int, str, str]]):
    code, _, err = sana_wm("weights", "list", "--stages", "stage1,stage2")
    assert code == 2
    assert "got stage2; expected stage1,preview,refiner,vae_decode" in err


def test_the_list_says_what_each_stage_needs_and_what_is_here(
    sana_wm: Callable[..., tuple[int, str, str]], folder: Path, root: Path
):
    next((root / "refiner" / "text_encoder").glob("*.safetensors")).unlink()
    (root / "dit" / "sana_wm_1600m_720p.safetensors").unlink()
    (root / "dit" / "sana_wm_1600m_720p.safetensors.0123456789ab.part").write_bytes(b"\0" * 5000)
    rows = {row.pattern: row for row in list_weights(places_in(folder, "original"), EVERY_STAGE)}
    assert rows["dit/sana_wm_1600m_720p.safetensors"].state == "missing"
    assert rows["dit/sana_wm_1600m_720p.safetensors"].partial_bytes == 5000
    assert rows["dit/sana_wm_1600m_720p.safetensors"].is_estimate
    assert rows["refiner/text_encoder/*"].state == "incomplete"
    assert (rows["vae/*"].state, rows["vae/*"].is_estimate) == ("here", False)
    assert rows["vae/*"].needed_bytes == rows["vae/*"].here_bytes
    assert rows["vae/*"].stages == ("stage1", "preview", "vae_decode")
    code, out, _ = sana_wm("weights", "list", "--in", folder)
    assert code == 0
    assert "missing (5.0 kB of files that are not whole)" in out


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _reserve(path: Path) -> None:
    """As aria2 does: the whole size at once, and a note beside it until it is full."""
    path.with_name(path.name + ".aria2").touch()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _begin(path: Path) -> None:
    path.rename(path.with_name(path.name + ".0123456789ab.part"))


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("vae/diffusion_pytorch_model.safetensors", _cut),
        ("vae/diffusion_pytorch_model.safetensors", _reserve),
        ("vae/diffusion_pytorch_model.safetensors", _begin),
        ("vae/config.json", _empty),
        ("refiner/text_encoder/tokenizer.json", _begin),
        ("refiner/text_encoder/tokenizer.json", _empty),
    ],
)
def test_no_list_calls_a_partial_file_here(
    tiny_models: dict[str, dict[str, Any]], tmp_path: Path, name: str, harm: Callable[[Path], None]
):
    """Nobody recorded these: their own headers and what lies beside them must say it."""
    places = places_in(tmp_path, "original")
    shutil.copytree(tiny_models["original"]["root"], places.root)
    pattern = f"{name.rpartition('/')[0]}/*"

    def listed() -> InventoryRow:
        return next(row for row in list_weights(places, EVERY_STAGE) if row.pattern == pattern)

    whole = listed()
    assert (whole.state, whole.partial_bytes) == ("here", 0)
    size_bytes = (places.root / name).stat().st_size
    harm(places.root / name)
    assert listed().state == "incomplete"
    assert listed().here_bytes == whole.here_bytes - size_bytes


def test_an_empty_disk_lacks_what_must_be_there(tmp_path: Path):
    for layout in ("original", "diffusers"):
        states = {row.pattern: row.state for row in list_weights(places_in(tmp_path, layout), EVERY_STAGE)}
        assert {pattern for pattern, state in states.items() if state != "missing"} <= {
            "refiner/tokenizer/*",
            "tokenizer/*",
            "scheduler/*",
            "special_tokens_map.json",
        }


def test_a_refiner_elsewhere_is_filled_and_found_there(tmp_path: Path):
    places = WeightPlaces("original", tmp_path / "a", tmp_path / "b", tmp_path / "c")
    (repository,) = places.repositories(("refiner",))
    assert places.path_of(repository, "refiner/connectors/config.json") == tmp_path / "c" / "connectors" / "config.json"
    assert places.path_of(repository, "vae/config.json") == tmp_path / "a" / "vae" / "config.json"
