"""Latents, checkpoints and the sentinels that look at them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sana_wm.errors import HandoffError, SanityError
from sana_wm.manifest.limits import SanitySection
from sana_wm.runtime.checkpoints import Checkpoints
from sana_wm.runtime.latents import load_if_ours, load_latents, load_tensors, save_tensors
from sana_wm.runtime.sentinels import check_latents

OWNER = {"stage": "stage1", "settings_sha256": "a" * 64}
LATENTS = torch.arange(24.0).reshape(1, 2, 3, 2, 2)


def test_equal_tensors_are_equal_bytes_and_come_back(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_tensors(tmp_path / name, {"latents": LATENTS, "b": torch.ones(2)}, OWNER)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert torch.equal(load_latents(tmp_path / "a", OWNER, (1, 2, 3, 2, 2)), LATENTS)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:20],
        lambda data: b"",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data.replace(b"settings_sha256", b"settings_sha255"),
    ],
    ids=["truncated", "header cut", "empty", "absurd header", "other metadata"],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "stage1.safetensors"
    save_tensors(path, {"latents": LATENTS}, OWNER)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(HandoffError, match=r"stage1\.safetensors"):
        load_tensors(path, OWNER)
    assert load_if_ours(path, OWNER) is None


def test_a_file_of_another_run_or_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stage1.safetensors"
    save_tensors(path, {"latents": LATENTS}, OWNER)
    with pytest.raises(HandoffError, match="is of another run; got settings_sha256"):
        load_tensors(path, {**OWNER, "settings_sha256": "b" * 64})
    with pytest.raises(HandoffError, match=r"shape \(1, 2, 3, 2, 2\); expected shape \(1, 2, 4, 2, 2\)"):
        load_latents(path, OWNER, (1, 2, 4, 2, 2))
    with pytest.raises(HandoffError, match="cannot be read"):
        load_latents(tmp_path / "none", OWNER, (1,))


def test_the_newest_two_checkpoints_are_kept_and_a_damaged_one_gives_way_to_the_older(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path, OWNER)
    assert checkpoints.load_newest() is None
    for done in (5, 10, 15):
        checkpoints.save(done, {"latents": LATENTS + done})
    checkpoints.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00010.safetensors", "00015.safetensors"]
    newest = tmp_path / "00015.safetensors"
    newest.write_bytes(newest.read_bytes()[:-4])
    found = Checkpoints(tmp_path, OWNER).load_newest()
    assert found is not None
    assert found[0] == 10
    assert f"passed over and deleted: {newest}" in capsys.readouterr().err
    assert torch.equal(found[1]["latents"], LATENTS + 10)
    assert Checkpoints(tmp_path, {**OWNER, "stage": "refiner"}).load_newest() is None


def test_what_was_saved_does_not_change_with_the_tensor(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, OWNER)
    latents = LATENTS.clone()
    checkpoints.save(1, {"latents": latents})
    latents.zero_()
    checkpoints.wait()
    found = checkpoints.load_newest()
    assert found is not None
    assert torch.equal(found[1]["latents"], LATENTS)


def test_a_failed_write_is_raised_at_the_next_chance(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    checkpoints = Checkpoints(tmp_path / "file" / "folder", OWNER)
    checkpoints.save(1, {"latents": LATENTS})
    with pytest.raises(HandoffError, match="cannot be written"):
        checkpoints.wait()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda latents: latents[:, :, 2].fill_(float("nan")), "latent frames 2; got standard deviation nan"),
        (lambda latents: latents[0, 0, 1, 0, 0].fill_(float("inf")), "latent frames 1;"),
        (lambda latents: latents[:, :, 3:6].fill_(0.5), "latent frames 3-5; got standard deviation 0 "),
        (lambda latents: latents[:, :, 0].mul_(1e4), "latent frames 0;"),
        (lambda latents: latents[:, :, 4, 1:3, 1:3].zero_(), "latent frames 4; got 4 tokens equal to a neighbour"),
        (
            lambda latents: latents[:, :, 5, :2].copy_(latents[:, :, 4, :2].clone()),
            "latent frames 5; got 8 tokens equal to a neighbour or to the frame before",
        ),
    ],
    ids=["nan", "infinity", "constant", "exploded", "never written", "written twice"],
)
def test_broken_latents_are_found_and_kept(tmp_path: Path, spoil: object, said: str) -> None:
    latents = torch.randn((1, 8, 7, 4, 4), generator=torch.Generator().manual_seed(0))
    evidence = tmp_path / "evidence" / "stage1.safetensors"
    deviations = check_latents(latents, SanitySection(), where="step 3 of 60", evidence=evidence)
    assert len(deviations) == 7
    latents[:, :, 0] = torch.randn(1, 8, 1, 1)  # of a white page
    check_latents(latents, SanitySection(), where="step 3 of 60", evidence=evidence)
    assert not evidence.exists()
    spoil(latents)  # type: ignore[operator]
    with pytest.raises(SanityError, match="`resume` goes on from the last checkpoint") as caught:
        check_latents(latents, SanitySection(), where="step 3 of 60", evidence=evidence, go_on="`resume`")
    assert caught.value.exit_code == 8
    assert f"latents look broken at step 3 of 60: {said}" in f"{caught.value} "
    assert load_tensors(evidence, {"where": "step 3 of 60"})["latents"].shape == latents.shape


def test_one_wild_value_among_many_is_found(tmp_path: Path) -> None:
    latents = torch.randn((1, 128, 2, 16, 16), generator=torch.Generator().manual_seed(0))
    latents[0, 3, 1, 1, 1] = -2e3
    with pytest.raises(SanityError, match="latent frames 1; got a value of 2000 in frame 1; expected at most 1000"):
        check_latents(latents, SanitySection(), where="step 3 of 60", evidence=tmp_path / "evidence.safetensors")
