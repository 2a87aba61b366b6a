"""What a stage was begun with, kept beside its checkpoints: who goes on must get the bits that nobody interrupted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sana_wm.durable import is_part, remove_tree, write_durably
from sana_wm.errors import HandoffError
from sana_wm.handoff.receipts import RESULTS_VERSION, changed_fields, current_versions
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.names import Stage


@dataclass(frozen=True)
class Beginning:
    """How a stage was begun.

    Attributes:
        work: Digests of its settings and of the file that it reads. Under others, what is half done is of no use.
        maker: Weights, libraries and chip. Others could go on, and would not give the same bits.
    """

    work: dict[str, str]
    maker: dict[str, str]

    @classmethod
    def read(cls, run: RunDirectory, stage: Stage) -> Beginning | None:
        """How a stage was begun; `None` when nobody said so, or what was said is damaged."""
        try:
            content = json.loads(run.beginning_file(stage).read_text(encoding="utf-8"))
            return cls(dict(content["work"]), dict(content["maker"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, run: RunDirectory, stage: Stage) -> None:
        """Keep it until the stage is done."""
        write_durably(run.beginning_file(stage), json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")


def is_half_done(run: RunDirectory, stage: Stage) -> bool:
    """Whether an interrupted stage left anything to go on from."""
    folder = run.checkpoint_folder(stage)
    present = folder.iterdir() if folder.is_dir() else ()
    return any(path != run.beginning_file(stage) and not is_part(path) for path in present)


def versions_that_count(stage: Stage) -> dict[str, str]:
    """Versions that a half-done stage depends on. Python's is none of them, and a release of ours says it itself."""
    versions = current_versions()
    libraries = {name: versions[name] for name in ("torch", "diffusers", "transformers")}
    return {**libraries, "results_version": str(RESULTS_VERSION[stage])}


def versions_since(run: RunDirectory, stage: Stage) -> list[str]:
    """The versions that changed since a stage was begun: `torch: "2.14.1" -> "2.15.0"`."""
    begun, here = Beginning.read(run, stage), versions_that_count(stage)
    return changed_fields({name: begun.maker.get(name) for name in here}, here) if begun is not None else []


def begin(run: RunDirectory, stage: Stage, here: Beginning) -> None:
    """Begin a stage, or go on with it.

    What is half done of another work, such as the refinement of other latents, is removed.

    Raises:
        HandoffError: It was half done with other weights, libraries or on another chip.
    """
    begun = Beginning.read(run, stage)
    if begun == here:
        return
    if begun is not None and begun.work != here.work:
        remove_tree(run.checkpoint_folder(stage))
    elif begun is not None and is_half_done(run, stage):
        raise HandoffError(
            f"stage {stage} is half done, and not by what would go on",
            got="; ".join(changed_fields(begun.maker, here.maker)),
            expected="the weights, libraries and chip that began it: others do not give the same bits",
            next_step=f"Go on with those, or start the stage over: {run.resume_command} --from {stage}",
        )
    here.write(run, stage)
