"""The run directory: which file is where, and what belongs to which stage."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sana_wm.durable import is_part, remove_parts_in, remove_tree
from sana_wm.errors import HandoffError, ManifestError
from sana_wm.manifest.loading import parse_manifest
from sana_wm.manifest.model import Manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES, Stage
from sana_wm.pipeline import PIPELINE
from sana_wm.plain_files import open_plain
from sana_wm.runs.links_refused import refuse_links
from sana_wm.runs.sealed import has_seal, read_sealed, write_sealed

#: How the lock file begins (`sana_wm.runs.lock.Owner`).
OWNER_HEAD = b'{"pid": '
#: Takes what is about to be removed.
Say = Callable[[Path], None]


def _nothing(_path: Path) -> None:
    pass


@dataclass(frozen=True)
class RunDirectory:
    """Names inside a run directory; making one touches no file."""

    path: Path

    @property
    def manifest_file(self) -> Path:
        """What really ran: resolved, absolute paths, input hashes."""
        return self.path / "manifest.json"

    @property
    def resume_command(self) -> str:
        """What goes on with this run, for a shell."""
        return f"sana-wm resume {shlex.quote(str(self.path))}"

    @property
    def conditioning_file(self) -> Path:
        """Prompt embeddings, masks, first-frame latents, camera tensors."""
        return self.path / "latents" / "conditioning.safetensors"

    @property
    def stage1_file(self) -> Path:
        """Stage 1 latents, normalized, (1, 128, F, h, w)."""
        return self.path / "latents" / "stage1.safetensors"

    @property
    def stage1_state_file(self) -> Path:
        """What the last chunk of a streaming run left, where it was asked to keep that."""
        return self.path / "latents" / "stage1_state.safetensors"

    @property
    def refined_file(self) -> Path:
        """Refined latents, the same shape."""
        return self.path / "latents" / "refined.safetensors"

    @property
    def refiner_text_file(self) -> Path:
        """The refiner's prompt embeddings, kept so that refining with another seed skips the text encoder."""
        return self.path / "latents" / "refiner_text.safetensors"

    @property
    def preview_file(self) -> Path:
        """The Stage 1 latents as a video, before they are refined."""
        return self.path / "preview.mp4"

    @property
    def video_file(self) -> Path:
        """The result."""
        return self.path / "video.mp4"

    @property
    def growing_file(self) -> Path:
        """What of the result is finished, to be watched while the rest is made; gone once all is there."""
        return self.path / "growing.mp4"

    @property
    def contact_sheet_file(self) -> Path:
        """A grid of frames with their times."""
        return self.path / "contact_sheet.png"

    @property
    def metrics_file(self) -> Path:
        """Times and memory of the whole run."""
        return self.path / "metrics.json"

    @property
    def lock_file(self) -> Path:
        """Held by the one process that owns the directory."""
        return self.path / ".lock"

    def checkpoint_folder(self, stage: Stage) -> Path:
        """What a stage needs to go on after an interruption."""
        return self.path / "checkpoints" / stage

    def beginning_file(self, stage: Stage) -> Path:
        """What a stage was begun with (`sana_wm.runs.unfinished`)."""
        return self.checkpoint_folder(stage) / "beginning.json"

    def receipt_file(self, stage: Stage) -> Path:
        """Written last: the stage is done when it is there and matches."""
        return self.path / "receipts" / f"{stage}.json"

    def evidence_file(self, stage: Stage) -> Path:
        """What a sentinel keeps when a result looks broken."""
        return self.path / "evidence" / f"{stage}.safetensors"

    def step_picture_file(self, step: int) -> Path:
        """A picture of the latents after a Stage 1 step, where `stage1.preview_every` asks for it."""
        return self.path / "previews" / f"{step:04d}.png"

    def log_file(self, stage: Stage) -> Path:
        """Standard output and error of the stage."""
        return self.path / "logs" / f"{stage}.log"

    def events_file(self, stage: Stage) -> Path:
        """JSON lines of the stage's last start."""
        return self.path / "events" / f"{stage}.jsonl"

    @property
    def start_file(self) -> Path:
        """What the last start meant to do, and how long it was expected to take."""
        return self.path / "events" / "start.json"

    @property
    def end_file(self) -> Path:
        """How the last start ended, if it could still say so."""
        return self.path / "events" / "end.json"

    @property
    def asked_file(self) -> Path:
        """What the running stage was last asked for: to stop, or to take less memory."""
        return self.path / "events" / "asked.json"

    @property
    def memory_file(self) -> Path:
        """What the governor saw, a line a second, over all starts of the run."""
        return self.path / "events" / "memory.jsonl"

    @property
    def memory_plot_file(self) -> Path:
        """The memory log as a picture."""
        return self.path / "memory.png"

    @property
    def report_file(self) -> Path:
        """The whole run on one page, for people."""
        return self.path / "report.html"

    def name_of(self, path: Path) -> str:
        """How receipts name a file in this directory."""
        return path.relative_to(self.path).as_posix()

    def latents_file(self, stage: Stage) -> Path:
        """The latents that a stage leaves for the next."""
        latents = PIPELINE[stage].latents
        if latents is None:
            raise LookupError(f"stage {stage} leaves no latents")
        return self.path / latents

    def outputs(self, stage: Stage) -> tuple[Path, ...]:
        """What a stage is run for; its receipt vouches for it."""
        return tuple(self.path / name for name in PIPELINE[stage].outputs)

    def belongings(self, stage: Stage) -> tuple[Path, ...]:
        """What a stage leaves, receipt first: it must not outlive what it vouches for.

        Conditioning and the refiner's text stay when a stage starts over: they say themselves under which settings
        they are valid, and a new seed does not need the text encoder again.
        """
        asked = (self.path / name for name in PIPELINE[stage].asked)
        growing = PIPELINE[stage].growing
        watched = () if growing is None else (self.path / growing,)
        return (self.receipt_file(stage), *self.outputs(stage), *asked, *watched, self.checkpoint_folder(stage))

    def clear_stage(self, stage: Stage, say: Say = _nothing) -> list[Path]:
        """Remove a stage's belongings, each named to `say` before it goes; returns what was there."""
        return _remove(self.belongings(stage), say)

    def start_over(self, stage: Stage, say: Say = _nothing) -> None:
        """Remove what a stage would go on from or use again. Its result stays, until a new one takes its place."""
        parts = (self.path / name for name in PIPELINE[stage].kept)
        _remove((self.receipt_file(stage), self.checkpoint_folder(stage), *parts), say)

    def remove_parts(self) -> None:
        """Remove what interrupted writes left where this package writes, and nowhere else."""
        checkpoints = [self.checkpoint_folder(stage) for stage in STAGES]
        places = ("latents", "receipts", "events", "previews", "evidence")
        for folder in (self.path, *(self.path / name for name in places), *checkpoints):
            remove_parts_in(folder)

    def holds_results(self) -> bool:
        """Whether stages finished here, whatever became of the manifest."""
        return any(has_seal(self.receipt_file(stage)) for stage in STAGES)

    def is_ours(self) -> bool:
        """Whether this package made it: it carries a manifest or a receipt with our seal, whole or damaged."""
        return has_seal(self.manifest_file) or self.holds_results()

    def refuse_foreign_content(self) -> None:
        """Refuse a folder in which something lies and no run does: it is not ours, and not to be touched.

        A start that was killed before it wrote its manifest leaves temporary files and a lock; they are no content.

        Raises:
            HandoffError: It is such a folder, or cannot be read.
        """
        try:
            if self.is_ours() or not self.path.is_dir():
                return
            names = (path.name for path in self.path.iterdir() if not is_part(path))
            foreign = sorted(name for name in names if not name.startswith(".") or self._is_foreign_lock(name))
        except OSError as error:
            raise HandoffError(
                f"{self.path} cannot be read", got=error.strerror or str(error), next_step="Choose another output_dir."
            ) from error
        if foreign:
            raise HandoffError(
                f"{self.path} is not empty and is no run directory",
                got=", ".join(foreign[:5]),
                expected="a new or empty folder",
                next_step="Choose another output_dir.",
            )

    def _is_foreign_lock(self, name: str) -> bool:
        """Whether it is the lock file and says something that no owner of ours says: it would be written over."""
        if name != self.lock_file.name:
            return False
        with open_plain(self.lock_file) as file:
            said = file.read(len(OWNER_HEAD))
        return said not in (b"", OWNER_HEAD)

    def frames_folder(self, manifest: Manifest) -> Path | None:
        """Where the frames go as PNG, if they do: a folder within the run directory moves with it."""
        folder = manifest.frames_within_output
        if folder is not None:
            return self.path / folder
        return None if manifest.video.frames_dir is None else Path(manifest.video.frames_dir)

    def write_manifest(self, manifest: RunManifest) -> None:
        """Write `manifest.json` durably, sealed."""
        write_sealed(self.manifest_file, manifest.model_dump_json(indent=2))

    def read_manifest(self) -> RunManifest:
        """Read `manifest.json`.

        Raises:
            HandoffError: It is not there, or not what this package wrote.
        """
        refuse_links(self.path)
        if not self.is_ours():
            raise HandoffError(
                f"{self.path} is not a run directory",
                got=f"{'another' if self.manifest_file.is_file() else 'no'} file {self.manifest_file.name}",
                expected="a directory that run-pipeline made",
                next_step="Start one with: sana-wm run-pipeline MANIFEST",
            )
        if not self.manifest_file.is_file():
            raise HandoffError(
                f"{self.path} has lost its {self.manifest_file.name}",
                got="no such file",
                expected="the manifest that this run was made from",
                next_step="Run yours again with run-pipeline --force: stages whose receipts fit it are kept.",
            )
        mend = (
            "It is not for editing: change your own manifest and run it again with run-pipeline --force, which keeps "
            "the stages that the change does not touch."
        )
        content = read_sealed(self.manifest_file, next_step=mend)
        try:
            return parse_manifest(json.loads(content), RunManifest)
        except (ValueError, RecursionError, ManifestError) as error:
            raise HandoffError(
                f"{self.manifest_file} is not of this version", got=str(error), next_step=mend
            ) from error


def _remove(paths: Iterable[Path], say: Say) -> list[Path]:
    """Remove what of some paths is there, each named before it goes; returns what was there."""
    present = [path for path in paths if path.exists()]
    for path in present:
        say(path)
        remove_tree(path)
    return present
