"""Intrinsics that nobody gave, without Depth Pro; with it: tests/models/test_depth_pro.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from sana_wm.errors import ManifestError
from sana_wm.handoff.receipts import stage_settings
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.launcher.prospect import inspect
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.run_manifest import RunManifest

Write = Callable[..., Path]
Cli = Callable[..., tuple[int, str, str]]


def photograph(path: Path, equivalent_mm: int) -> Path:
    """A JPEG of 200x120 whose EXIF data names a 35 mm equivalent."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = equivalent_mm
    Image.effect_noise((200, 120), 60).convert("RGB").save(path, exif=exif)
    return path


def check(path: Path) -> RunManifest:
    prospect = inspect(path, {})
    if prospect.resolved is None:
        raise prospect.errors[0]
    return prospect.resolved


def test_an_estimate_is_stored_with_source_and_uncertainty_and_steers_stage1(
    write_manifest: Write, tmp_path: Path
) -> None:
    image = photograph(tmp_path / "photo.jpg", 28)
    manifest = check(write_manifest(camera__intrinsics="estimate", input__image=str(image)))
    estimate = manifest.intrinsics_estimate
    assert estimate is not None
    assert estimate.source == "EXIF, 28 mm (35 mm equivalent)"
    assert 0.01 < estimate.uncertainty_share < 0.1
    assert estimate.field_of_view_deg == pytest.approx(67.1, abs=0.1)
    assert estimate.intrinsics == manifest.camera.intrinsics
    settings = stage_settings(manifest, "stage1")
    assert settings["camera.intrinsics"] == list(estimate.intrinsics), "what receipts chain to"


def test_it_is_shown(write_manifest: Write, sana_wm: Cli, tmp_path: Path) -> None:
    image = photograph(tmp_path / "photo.jpg", 28)
    code, _, err = sana_wm("validate-manifest", write_manifest(camera__intrinsics="estimate", input__image=str(image)))
    assert code == 0, err
    assert "67.1 degrees across, from EXIF, 28 mm (35 mm equivalent); focal length give or take" in err


def test_going_on_with_a_run_keeps_what_it_found(write_manifest: Write, tmp_path: Path) -> None:
    image = photograph(tmp_path / "photo.jpg", 28)
    path = write_manifest(camera__intrinsics="estimate", input__image=str(image))
    first = check(path)
    assert first.intrinsics_estimate is not None
    kept = first.intrinsics_estimate.model_copy(update={"source": "an earlier version"})
    run = RunDirectory(Path(first.output_dir))
    run.path.mkdir()
    run.write_manifest(first.model_copy(update={"intrinsics_estimate": kept}))
    assert check(path).intrinsics_estimate == kept
    photograph(image, 35)
    again = check(path).intrinsics_estimate
    assert again is not None
    assert "35 mm (35" in again.source, "another picture is looked at anew"


@pytest.mark.parametrize(
    ("equivalent_mm", "said"),
    [
        (200, "outside 25 to 120"),
        (8, "outside 25 to 120"),
        (0, "set model.depth_pro_root to Depth Pro's weights: hf download apple/DepthPro-hf"),
    ],
)
def test_what_is_not_plausible_or_not_there_is_an_error(
    write_manifest: Write, tmp_path: Path, equivalent_mm: int, said: str
) -> None:
    image = photograph(tmp_path / "photo.jpg", equivalent_mm)
    with pytest.raises(ManifestError, match=r"camera\.intrinsics: ") as error:
        check(write_manifest(camera__intrinsics="estimate", input__image=str(image)))
    assert said in str(error.value)
    assert len(error.value.problems) == 1


def test_a_folder_that_is_not_depth_pro_is_named(write_manifest: Write, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dpt"}))
    with pytest.raises(ManifestError, match="does not hold Depth Pro; got model_type dpt, 0 weight files"):
        check(write_manifest(camera__intrinsics="estimate", model__depth_pro_root=str(tmp_path)))


def test_a_missing_picture_is_said_once(write_manifest: Write) -> None:
    with pytest.raises(ManifestError) as error:
        check(write_manifest(camera__intrinsics="estimate", input__image="nowhere.png"))
    assert [problem.field for problem in error.value.problems] == ["input.image"]


def test_intrinsics_of_another_picture_size_are_warned_of(write_manifest: Write, sana_wm: Cli) -> None:
    code, _, err = sana_wm("validate-manifest", write_manifest(camera__intrinsics=[800, 800, 50, 30]))
    assert code == 0
    assert "warning: camera.intrinsics: a field of view of" in err
    assert "They look like those of a picture of 100x60: multiply all four by 2." in err
    code, _, err = sana_wm("validate-manifest", write_manifest(camera__intrinsics=[2000, 2000, 1000, 600]))
    assert code == 2
    assert "camera.intrinsics: the principal point lies outside the input image" in err
    assert "They look like those of a picture of 2000x1200: multiply all four by 0.1." in err


def test_a_file_called_estimate_can_be_named(write_manifest: Write, tmp_path: Path) -> None:
    manifest = load_manifest(write_manifest(camera__intrinsics="./estimate"), {})
    assert manifest.camera.intrinsics == str(tmp_path / "estimate")
