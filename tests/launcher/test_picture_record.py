"""What is said of a picture before a run is what the run computes, keeps, and goes by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import require_shared
from tests.video import pictures

from sana_wm.camera.intrinsics import crop_geometry, resize_and_crop
from sana_wm.errors import HandoffError, ManifestError
from sana_wm.manifest.loading import parse_manifest
from sana_wm.manifest.run_manifest import PictureRecord, RunManifest
from sana_wm.preflight.prospect import inspect
from sana_wm.runs.prepare import compare, prepare
from sana_wm.runs.receipts import stage_settings
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.video.picture import open_picture

Write = Callable[..., Path]
Cli = Callable[..., tuple[int, str, str]]
P3 = pictures.make_profile(pictures.PRIMARIES_P3, pictures.SRGB_CURVE)


def photograph(path: Path, **options: Any) -> Path:
    """A portrait photo as a phone makes it: HEIC, Display P3, on its side."""
    image = Image.open(pictures.io.BytesIO(pictures.saved(pictures.IMAGE, "PNG"))).resize((200, 120))
    path.write_bytes(pictures.saved(image, "HEIF", icc_profile=P3, exif=pictures.exif(orientation=6), **options))
    return path


def check(path: Path) -> RunManifest:
    return inspect(path, {}).require()[1]


def test_what_is_done_to_a_picture_is_said_and_kept(write_manifest: Write, sana_wm: Cli, tmp_path: Path) -> None:
    image = photograph(tmp_path / "IMG_0001.jpg")
    path = write_manifest(input__image=str(image))
    code, out, err = sana_wm("validate-manifest", path, "--json")
    assert code == 0, err
    report = json.loads(out)
    notes = report["manifest"]["picture"]["notes"]
    assert [note.split(" (")[0] for note in notes] == [
        "colours converted from a colour space without a name to sRGB",
        "turned upright, as its file says: 200x120 pixels, now 120x200",
    ]
    assert report["warnings"][1:3] == [f"input.image: {note}" for note in notes]
    assert report["manifest"]["picture"]["kind"] == "HEIC"
    assert open_picture(image).facts.notes == tuple(notes)


def test_a_silent_picture_gets_no_word_and_steers_nothing_new(write_manifest: Write, picture: Path) -> None:
    manifest = check(write_manifest())
    assert manifest.picture == PictureRecord(kind="PNG", size=(200, 120), converted_from=None, notes=())
    assert not [name for name in stage_settings(manifest, "stage1") if name.startswith("picture")]
    assert np.array_equal(np.asarray(open_picture(picture).image), np.asarray(Image.open(picture)))


def test_a_run_directory_of_before_is_read_and_a_conversion_makes_another_run(
    write_manifest: Write, tmp_path: Path
) -> None:
    image = photograph(tmp_path / "photo.heic")
    manifest = check(write_manifest(input__image=str(image)))
    data = manifest.model_dump(mode="json")
    del data["picture"]
    before = parse_manifest(data, RunManifest)
    assert before.picture is None
    run = RunDirectory(tmp_path / "run")
    prepare(run, before, force=False)
    assert run.read_manifest() == before
    with pytest.raises(HandoffError, match=r"picture\.converted_from: null"):
        compare(run, manifest, force=False)


def test_a_refused_picture_is_a_problem_of_its_field(write_manifest: Write) -> None:
    image = require_shared("inputs") / "hdr_pq_cicp.png"
    with pytest.raises(ManifestError, match=r"input\.image: .*an HDR picture"):
        check(write_manifest(input__image=str(image)))


def test_no_focal_length_is_taken_from_a_panorama(write_manifest: Write) -> None:
    image = require_shared("inputs") / "iphone_panorama.jpg"
    with pytest.raises(ManifestError, match=r"camera.intrinsics cannot be estimated; got it is a panorama"):
        check(write_manifest(input__image=str(image), camera__intrinsics="estimate"))


def test_a_thin_picture_is_valid_with_a_word_and_cut_before_it_is_scaled(write_manifest: Write, sana_wm: Cli) -> None:
    image = require_shared("inputs") / "thin_2x20000.png"
    path = write_manifest(
        input__image=str(image), video__height=704, video__width=1280, camera__intrinsics=[2.0, 2.0, 1.0, 10000.0]
    )
    code, _, err = sana_wm("validate-manifest", path)
    assert code == 0, err
    assert "it is enlarged 640.0 times" in err
    thin = open_picture(image).image
    assert resize_and_crop(thin, crop_geometry(thin.size, height=704, width=1280)).size == (1280, 704)


def test_a_new_manifest_says_it_too(sana_wm: Cli, tmp_path: Path) -> None:
    image = photograph(tmp_path / "photo.heic")
    out = tmp_path / "manifest.json"
    code, _, err = sana_wm("init-manifest", image, "--prompt", "A road.", "--fov-deg", "70", "-o", out)
    assert code == 0, err
    assert "turned upright" in err
