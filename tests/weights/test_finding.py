"""Where weights are looked for, in which order, and what is said when they are not there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sana_wm.errors import WeightsError
from sana_wm.weights.finding import (
    download_command,
    find_places,
    find_weights,
    recognise_weights,
    remember,
    require_any,
)
from sana_wm.weights.places import WeightPlaces, places_in

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def checkpoint(tiny_models: dict[str, dict[str, Any]]) -> Path:
    return Path(tiny_models["original"]["root"])


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "settings")}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder; `weights` in it is for the test to make."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def filled(folder: Path, checkpoint: Path) -> Path:
    """A folder as `weights download` fills it."""
    folder.mkdir(parents=True)
    (folder / "SANA-WM_bidirectional").symlink_to(checkpoint)
    (folder / "gemma-2-2b-it").symlink_to(checkpoint / "gemma-2-2b-it")
    return folder


def test_the_nearest_word_wins(workplace: Path, checkpoint: Path, environ: dict[str, str], tmp_path: Path) -> None:
    remembered = filled(tmp_path / "remembered", checkpoint)
    remember(remembered, ["bidirectional"], environ)
    found = find_weights("bidirectional", {}, environ)
    assert found.source == "the place that was remembered"
    assert found.fields == {
        "root": remembered / "SANA-WM_bidirectional",
        "gemma_root": remembered / "gemma-2-2b-it",
    }
    here = filled(workplace / "weights", checkpoint)
    found = find_weights("bidirectional", {}, environ)
    assert (found.source, found.fields["root"], found.folder) == ("./weights", here / "SANA-WM_bidirectional", here)
    in_variable = {**environ, "SANA_WM_MODEL_ROOT": str(checkpoint)}
    found = find_weights("bidirectional", {}, in_variable)
    assert (found.source, found.fields["root"]) == ("the variable SANA_WM_MODEL_ROOT", "${SANA_WM_MODEL_ROOT}")
    assert found.fields["gemma_root"] == here / "gemma-2-2b-it", "what the variables leave open"
    found = find_weights("bidirectional", {"root": checkpoint}, in_variable)
    assert (found.source, found.fields["root"], found.unset) == ("--model-root", checkpoint, ())


def test_where_nothing_is_each_place_is_named(workplace: Path, environ: dict[str, str], tmp_path: Path) -> None:
    remember(tmp_path / "gone", ["bidirectional"], environ)
    (workplace / "weights").mkdir()
    found = find_weights("bidirectional", {}, environ)
    assert (found.source, found.layout, found.unset) == (None, "diffusers", ("SANA_WM_MODEL_ROOT",))
    assert found.looked == (
        "--model-root and SANA_WM_MODEL_ROOT: not set",
        "./weights: holds no such model",
        f"the place that was remembered, {tmp_path / 'gone'}: not there",
    )
    student = find_weights("streaming", {}, environ)
    assert student.looked[-1] == "the place that was remembered: none"
    assert student.unset == ("SANA_WM_STREAMING_ROOT", "SANA_GEMMA_2_2B_IT_ROOT")


def test_of_two_layouts_the_whole_one_is_taken(tiny_models: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    folder = filled(tmp_path / "both", Path(tiny_models["original"]["root"]))
    converted = places_in(folder, "diffusers")
    converted.root.symlink_to(tiny_models["diffusers"]["root"])
    places = recognise_weights(folder, "bidirectional")
    assert places is not None
    assert places.layout_name == "original", "of the converted one the refiner is missing"
    assert converted.refiner_root is not None
    converted.refiner_root.symlink_to(tiny_models["diffusers"]["refiner_root"])
    (folder / "gemma-2-2b-it").unlink()
    places = recognise_weights(folder, "bidirectional")
    assert places is not None
    assert places.layout_name == "diffusers"


def test_two_models_in_folders_of_the_same_names_are_told_apart(tmp_path: Path) -> None:
    """Conversions of the student have no schedulers, those of the other model do."""
    for name in ("transformer", "vae"):
        (tmp_path / name).mkdir()
    assert list(require_any(tmp_path)) == ["streaming"]
    (tmp_path / "scheduler").mkdir()
    assert list(require_any(tmp_path)) == ["bidirectional"]


@pytest.mark.parametrize("layout", ["original", "diffusers"])
def test_the_model_itself_is_recognised(tiny_models: dict[str, dict[str, Any]], layout: str) -> None:
    root = Path(tiny_models[layout]["root"])
    assert {variant: places.layout_name for variant, places in require_any(root).items()} == {"bidirectional": layout}
    with pytest.raises(WeightsError, match=r"holds no weights of the streaming model.*download --in .* --variant"):
        require_any(root, "streaming")


def test_the_command_says_what_it_took_and_refuses_what_is_not_whole(
    sana_wm: Cli, checkpoint: Path, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert "no folder is remembered" in sana_wm("weights", "use")[1]
    folder = filled(tmp_path / "mine", checkpoint)
    code, out, err = sana_wm("weights", "use", folder)
    assert (code, str(folder) in out, f"{folder}/SANA-WM_bidirectional, layout original" in err) == (0, True, True), err
    partial = filled(tmp_path / "partial", checkpoint)
    (partial / "SANA-WM_bidirectional").unlink()
    shutil.copytree(checkpoint, partial / "SANA-WM_bidirectional")
    shutil.rmtree(partial / "SANA-WM_bidirectional" / "refiner" / "transformer")
    code, _, err = sana_wm("weights", "use", partial)
    assert code == 3
    assert f"Complete the folder with: sana-wm weights download --layout original --in {partial}" in err
    assert str(partial) not in sana_wm("weights", "use")[1], "nothing was remembered"
    assert sana_wm("weights", "use", partial, "--stages", "stage1,vae_decode")[0] == 0
    assert "holds no weights of SANA-WM" in sana_wm("weights", "use", workplace)[2]


def test_the_command_that_completes_is_the_one_that_began(tiny_models: dict[str, dict[str, Any]]) -> None:
    places = recognise_weights(Path(tiny_models["diffusers"]["root"]), "bidirectional")
    assert places is not None
    assert download_command(Path("weights"), places) == "sana-wm weights download"
    assert download_command(Path("/my disk"), places).endswith("download --in '/my disk'")
    original = recognise_weights(Path(tiny_models["original"]["root"]), "bidirectional")
    assert original is not None
    assert download_command(None, original) == "sana-wm weights download --layout original"


def test_weights_commands_look_where_a_run_looks(
    workplace: Path, checkpoint: Path, tiny_models: dict[str, dict[str, Any]], environ: dict[str, str], tmp_path: Path
) -> None:
    nowhere = find_places("bidirectional", None, environ)
    assert (nowhere.places, nowhere.source) == (places_in(Path("weights"), "diffusers"), None)
    remembered = filled(tmp_path / "remembered", checkpoint)
    remember(remembered, ["bidirectional"], environ)
    found = find_places("bidirectional", None, environ)
    assert found.places == WeightPlaces(
        "original", remembered / "SANA-WM_bidirectional", remembered / "gemma-2-2b-it", None
    )
    assert found.places.roots() == find_weights("bidirectional", {}, environ).fields
    other = find_places("bidirectional", "diffusers", environ)
    assert other.places == places_in(remembered, "diffusers"), "the other layout comes beside it"
    in_variable = {**environ, "SANA_WM_MODEL_ROOT": str(checkpoint)}
    assert find_places("bidirectional", None, in_variable).places.gemma_root == remembered / "gemma-2-2b-it"
    pair = tmp_path / "pair"
    pair.mkdir()
    converted = places_in(pair, "diffusers")
    assert converted.refiner_root is not None
    root = tiny_models["diffusers"]["root"]
    shutil.copytree(root, converted.root, ignore=shutil.ignore_patterns("refiner"))
    converted.refiner_root.symlink_to(tiny_models["diffusers"]["refiner_root"])
    in_variable = {**environ, "SANA_WM_MODEL_ROOT": str(converted.root)}
    assert find_places("bidirectional", None, in_variable).places == converted
    section = find_weights("bidirectional", {}, in_variable)
    assert (section.layout, section.unset) == ("diffusers", ())
    assert section.fields == {"root": "${SANA_WM_MODEL_ROOT}", "refiner_root": converted.refiner_root}
