"""Weights that look whole by their headers and are not, and weights that are there but elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sana_wm.errors import Problem, WeightsError
from sana_wm.weights.check import check_layout
from sana_wm.weights.empty_checkpoint import RELEASED, write_empty_checkpoint
from sana_wm.weights.headers import read_header
from sana_wm.weights.inventory import list_weights
from sana_wm.weights.layout import resolve_layout
from sana_wm.weights.places import WeightPlaces
from sana_wm.weights.samples import ZERO_RUN_BYTES, sample_numbers
from sana_wm.weights.tables import TABLES

ALL = ("stage1", "refiner", "vae_decode")
DIT = "dit/sana_wm_1600m_720p.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TOKENIZER = "gemma-2-2b-it/tokenizer.json"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 17525357\n"


@pytest.fixture
def root(tiny_models: dict[str, dict[str, Any]], tmp_path: Path) -> Path:
    """An original-layout checkpoint to damage."""
    return shutil.copytree(tiny_models["original"]["root"], tmp_path / "weights")


def check(root: Path, gemma_root: Path | None = None, **options: Any) -> list[Problem]:
    layout = resolve_layout(options.get("layout", "original"), root, gemma_root or root / "gemma-2-2b-it")
    return check_layout(layout, options.get("stages", ALL))


def zero(path: Path, start: float, end: float = 1.0) -> None:
    content = path.read_bytes()
    first, last = int(start * len(content)), int(end * len(content))
    path.write_bytes(content[:first] + bytes(last - first) + content[last:])


# -- samples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "end"), [(0.5, 1.0), (0.8, 1.0), (0.3, 0.6)])
@pytest.mark.parametrize("file", [DIT, VAE, "refiner/connectors/diffusion_pytorch_model.safetensors"])
def test_a_file_that_was_reserved_and_not_filled_is_found(root: Path, file: str, start: float, end: float):
    zero(root / file, start, end)
    (problem,) = check(root)
    assert problem.field == str(root / file)
    assert "nothing but zeros at tensor" in problem.what


def test_zero_biases_and_a_small_table_of_zeros_are_the_models_own(root: Path):
    tensors = load_file(root / VAE)
    small = next(name for name, tensor in tensors.items() if tensor.ndim > 1 and tensor.nbytes < ZERO_RUN_BYTES)
    zeros = {name: np.zeros_like(tensor) for name, tensor in tensors.items() if name.endswith(".bias")}
    save_file(tensors | zeros | {small: np.zeros_like(tensors[small])}, root / VAE)
    assert check(root) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_that_are_not_finite_are_found(root: Path, value: float, dtype: str):
    import torch
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file as save

    tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in load(root / VAE).items()}
    name = "decoder.conv_out.conv.weight"
    tensors[name] = torch.full_like(tensors[name], value)
    save(tensors, root / VAE)
    (problem,) = check(root, stages=("vae_decode",))
    assert problem.what == f"tensor {name} holds values that are not finite"


def test_what_is_never_read_may_be_anything(root: Path):
    """`pos_embed` of the released Stage 1 file is obsolete; the tiny one has zeros there."""
    tensors = load_file(root / DIT)
    assert not tensors["pos_embed"].any()
    assert check(root) == []


@pytest.mark.parametrize("name", TABLES)
def test_the_released_sizes_take_few_reads(name: str, tmp_path_factory: pytest.TempPathFactory):
    """At a tenth of a millisecond a read, an SSD's, all of them are done in half a second."""
    layout = write_empty_checkpoint(tmp_path_factory.getbasetemp() / "released", RELEASED)
    component = getattr(layout, name)
    header = read_header(component.shards[0])
    sampling = sample_numbers(header, component.rules)
    assert sampling.problem is not None
    assert sampling.reads < 8  # the first zeros are enough
    matrices = [entry for entry in header.tensors.values() if sum(size > 1 for size in entry.shape) >= 2]
    assert len(matrices) <= sampling.tensors == len(header.tensors) <= 1215


def test_reads_are_one_for_each_tensor_of_a_whole_file(root: Path):
    layout = resolve_layout("original", root, root / "gemma-2-2b-it")
    header = read_header(root / VAE)
    sampling = sample_numbers(header, layout.vae.rules)
    assert (sampling.problem, sampling.reads, sampling.tensors) == (None, len(header.tensors), len(header.tensors))


# -- what stands in their place ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (POINTER, "a Git LFS pointer"),
        (b"# xet version 0\nhash = 'x'\n", "a Xet pointer"),
        (b"/annex/objects/SHA256E-s1--ab.safetensors\n", "a git-annex pointer"),
        (b"\n <!DOCTYPE html><html>Access to this model is restricted.</html>", "a web page"),
        (b"\xef\xbb\xbf<HTML>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a message of a web server"),
        (b"PK\x03\x04pickle", "a zip archive or a pickle"),
        (b"GGUF\x03\x00\x00\x00", "a GGUF file"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip"),
        (b"", "this file is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("file", [DIT, TOKENIZER, "vae/config.json", "gemma-2-2b-it/model.safetensors.index.json"])
def test_what_stands_in_a_files_place_is_named(root: Path, file: str, content: bytes, what: str):
    (root / file).write_bytes(content)
    (problem,) = check(root)
    assert (problem.field, what in problem.what) == (str(root / file), True), problem


@pytest.mark.parametrize("file", [DIT, TOKENIZER, "vae/config.json", "gemma-2-2b-it/model.safetensors.index.json"])
def test_a_pipe_a_folder_and_a_device_are_named_and_nobody_waits(root: Path, file: str):
    for make, what in (
        (os.mkfifo, "a named pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (lambda path: path.mkdir(), "a folder"),
    ):
        copy = root.with_name(f"copy of {what}")
        shutil.copytree(root, copy)
        (copy / file).unlink()
        make(copy / file)
        text = "\n".join(map(str, check(copy)))
        assert file in text or Path(file).parent.name in text
        if not file.endswith(("tokenizer.json", "index.json")):  # a layout without these is another layout
            assert what in text


def test_a_sparse_config_is_refused_before_it_is_read(root: Path):
    os.truncate(root / "vae/config.json", 10**11)
    (problem,) = check(root, stages=("vae_decode",))
    assert "too large to be one" in problem.what


@pytest.mark.parametrize("ending", [".aria2", ".incomplete", ".part", ".crdownload"])
@pytest.mark.parametrize("file", [DIT, TOKENIZER])
def test_what_a_downloader_left_beside_a_file_is_believed(root: Path, file: str, ending: str):
    (root / (file + ending)).write_bytes(b"x")
    (problem,) = check(root)
    assert problem.what == "the download of this file was not finished"
    assert Path(file).name + ending in (problem.got or "")


def test_our_own_part_of_another_version_says_nothing_of_the_file(root: Path):
    (root / f"{DIT}.0123456789ab.part").write_bytes(b"x")
    assert check(root) == []
    (root / DIT).unlink()
    (problem,) = check(root)
    assert problem.got == "sana_wm_1600m_720p.safetensors.0123456789ab.part"
    assert "go on with sana-wm weights download" in (problem.next_step or "")


def test_a_tokenizer_is_read_to_its_end(root: Path):
    path = root / TOKENIZER
    whole = path.read_bytes()
    for content in (whole[:1000], whole[:-1], b"[]", b"{}", b"[" * 100_000, b"\xff" * 9):
        path.write_bytes(content)
        (problem,) = check(root)
        assert problem.what == "this file of stage1_tokenizer is damaged"
    path.write_bytes(whole)
    (root / "gemma-2-2b-it/special_tokens_map.json").write_text("{")
    (problem,) = check(root)
    assert problem.field.endswith("special_tokens_map.json")


def test_a_cut_sentencepiece_model_is_found(root: Path):
    (root / "gemma-2-2b-it/tokenizer.model").write_bytes(b"\x0a\x05hello" * 20)
    (problem,) = check(root)
    assert "no sentencepiece model" in (problem.got or "")


# -- elsewhere --------------------------------------------------------------------------------------------------------


def as_hub_cache(root: Path, cache: Path) -> Path:
    """`models--X/blobs/HASH` and links to them, as hub clients lay them out; returns the snapshot."""
    snapshot = cache / "models--someone--model" / "snapshots" / ("0123abcd" * 5)
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir(parents=True)
    for file in (path for path in root.rglob("*") if path.is_file()):
        content = file.read_bytes()
        is_large = file.suffix == ".safetensors"
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        blob = blobs / (hashlib.sha256(content).hexdigest() if is_large else git)
        blob.write_bytes(content)
        link = snapshot / file.relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def test_weights_in_a_hub_cache_are_found_from_every_folder_above(root: Path, tmp_path: Path):
    snapshot = as_hub_cache(root, tmp_path / "cache")
    assert check(snapshot) == []
    for place, what in (
        (snapshot.parents[1], "a repository in a hub cache"),
        (tmp_path / "cache", "a hub cache"),
        (snapshot.parent, "further down"),
    ):
        (problem,) = check(place)
        assert (problem.field, what in problem.what) == (str(place), True)
        assert f"Set model.root to {snapshot}." in (problem.next_step or "")
        assert f"Set model.gemma_root to {snapshot / 'gemma-2-2b-it'}." in (problem.next_step or "")


def test_one_folder_up_or_down_is_one_line(root: Path):
    for place in (root.parent, root / "dit"):
        (problem,) = check(place, root / "gemma-2-2b-it")
        assert f"Set model.root to {root}." in (problem.next_step or "")
    (problem,) = check(root, root)
    assert f"Set model.gemma_root to {root / 'gemma-2-2b-it'}." in (problem.next_step or "")


def test_the_other_layout_is_one_line(root: Path, tiny_models: dict[str, dict[str, Any]]):
    (problem,) = check(root, layout="diffusers")
    assert problem.next_step == 'Set model.layout to "original" (docs/weights.md).'
    (problem,) = check(Path(tiny_models["diffusers"]["root"]), root / "gemma-2-2b-it")
    assert problem.next_step == 'Set model.layout to "diffusers" (docs/weights.md).'


def test_links_that_lost_what_they_lead_to_are_one_line(root: Path, tmp_path: Path):
    snapshot = as_hub_cache(root, tmp_path / "cache")
    copy = shutil.copytree(snapshot, tmp_path / "usb stick", symlinks=True)
    (problem,) = check(copy)
    assert "files are links that lead nowhere" in problem.what
    (root / VAE).unlink()
    (root / VAE).symlink_to("/Volumes/gone/vae.safetensors")
    (problem,) = check(root)
    assert "is a link that leads nowhere; got /Volumes/gone" in str(problem)


# -- permission -------------------------------------------------------------------------------------------------------


@pytest.fixture
def as_nobody() -> Any:
    """Work as a user who may be refused something; root may read all."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


@pytest.fixture
def open_root(root: Path) -> Path:
    """The checkpoint where somebody else may go."""
    for folder in (*list(root.parents)[:-2], root, *(path for path in root.rglob("*") if path.is_dir())):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o755)
    return root


@pytest.mark.parametrize("closed", ["vae", "", VAE, "vae/config.json", TOKENIZER])
def test_a_forbidden_folder_is_a_problem_of_the_weights_with_the_macs_hint(
    open_root: Path, closed: str, as_nobody: Any, request: pytest.FixtureRequest
):
    was = os.geteuid()
    if was == 65534:
        os.seteuid(0)
    (open_root / closed).chmod(0)
    os.seteuid(was)
    request.addfinalizer(lambda: (open_root / closed).chmod(0o755))
    text = "\n".join(map(str, check(open_root)))
    assert "may not be read; got Permission denied" in text
    assert "Privacy & Security > Files and Folders" in text
    assert "download --replace" not in text
    places = WeightPlaces("original", open_root, open_root / "gemma-2-2b-it")
    if closed == "":
        with pytest.raises(WeightsError, match="Privacy & Security"):
            list_weights(places, ALL)
    os.seteuid(0 if was == 65534 else was)


# -- the command ------------------------------------------------------------------------------------------------------


def test_verify_proves_a_hub_cache_by_its_names_and_finds_a_flipped_bit(
    root: Path,
    tmp_path: Path,
    write_manifest: Callable[..., Path],
    sana_wm: Callable[..., tuple[int, str, str]],
):
    snapshot = as_hub_cache(root, tmp_path / "cache")
    model = {"layout": "original", "root": str(snapshot), "gemma_root": str(snapshot / "gemma-2-2b-it")}
    manifest = write_manifest(model=model)
    code, out, _ = sana_wm("weights", "verify", "--manifest", manifest, "--json")
    report = json.loads(out)
    assert (code, report["ok"]) == (0, True)
    assert {(file["sha256"], file["source"]) for file in report["files"]} == {
        ("right", "the name of its blob in the hub cache")
    }
    assert len(report["files"]) == 21
    for name, position in ((DIT, -9), (TOKENIZER, (root / TOKENIZER).read_bytes().index(b"eos>"))):
        blob = (snapshot / name).resolve()
        content = bytearray(blob.read_bytes())
        content[position] ^= 1
        blob.write_bytes(content)
    code, out, err = sana_wm("weights", "verify", "--manifest", manifest, "--stages", "stage1")
    assert code == 3
    assert f"{snapshot / DIT}: this file is damaged; got SHA-256" in err
    assert f"{snapshot / TOKENIZER}: this file is damaged" in err


def test_the_note_of_another_downloader_is_held_against_the_file(root: Path, sana_wm: Callable[..., Any]):
    note = root.parent / "SANA-WM_bidirectional/.cache/huggingface/download/vae/config.json.metadata"
    shutil.copytree(root, root.parent / "SANA-WM_bidirectional")
    content = (root / "vae/config.json").read_bytes()
    note.parent.mkdir(parents=True)
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    for digest, state in ((git, "right"), ("0" * 40, "wrong"), ("no hash", "unknown")):
        note.write_text(f"{'0' * 40}\n{digest}\n1700000000.0\n")
        _, out, _ = sana_wm("weights", "verify", "--in", root.parent, "--stages", "vae_decode", "--json")
        files = {Path(file["path"]).name: file for file in json.loads(out)["files"]}
        assert files["config.json"]["sha256"] == state


def test_verify_never_says_ok_of_what_nobody_knows(root: Path, sana_wm: Callable[..., tuple[int, str, str]]):
    shutil.copytree(root, root.parent / "SANA-WM_bidirectional")
    code, out, _ = sana_wm("weights", "verify", "--in", root.parent, "--stages", "vae_decode")
    assert code == 0
    assert "ok" not in out.split()
    assert "its hash is not known here; looked at: header, a sample of each tensor" in out
    assert "2 of 2 files are not proven: a flipped bit in them would not be seen" in out
    _, out, _ = sana_wm("weights", "verify", "--in", root.parent, "--stages", "vae_decode", "--json")
    assert json.loads(out)["ok"] is None


@pytest.mark.parametrize("damage", ["zero_tail", "lfs_pointer_tokenizer", "cache"])
def test_validate_says_it_before_a_run(
    root: Path,
    tmp_path: Path,
    write_manifest: Callable[..., Path],
    sana_wm: Callable[..., tuple[int, str, str]],
    damage: str,
):
    if damage == "zero_tail":
        zero(root / DIT, 0.5)
    elif damage == "cache":
        root = as_hub_cache(root, tmp_path / "cache").parents[1]
    else:
        (root / TOKENIZER).write_bytes(POINTER)
    model = {"layout": "original", "root": str(root), "gemma_root": str(root / "gemma-2-2b-it")}
    code, _, err = sana_wm("validate-manifest", write_manifest(model=model))
    assert code == 3
    assert str(root) in err
    assert len(err.splitlines()) == 2
