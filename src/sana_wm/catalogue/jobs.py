"""Jobs of the queue beside a run that name it: what is to come may begin with what somebody wants to remove."""

from __future__ import annotations

from pathlib import Path

from sana_wm.catalogue.entry import Entry
from sana_wm.errors import ManifestError
from sana_wm.manifest.json_text import read_json
from sana_wm.manifest.loading import map_strings
from sana_wm.queue.folder import Queue
from sana_wm.queue.job import Job


def jobs_that_name(entry: Entry) -> tuple[Job, ...]:
    """The jobs that are not done and whose manifests name a run's directory, or anything in it."""
    queue = Queue(entry.path.parent / "queue")
    to_come = (job for job in queue.jobs() if job.state != "done")
    return tuple(job for job in to_come if _names(queue.manifest_file(job.number), entry.path))


def _names(manifest_file: Path, folder: Path) -> bool:
    try:
        data = read_json(manifest_file).data
    except ManifestError:
        return False
    found: list[str] = []

    def collect(text: str, _field: str) -> str:
        found.append(text)
        return text

    map_strings(data, "", collect)
    return any(Path(text).is_relative_to(folder) for text in found if text.startswith("/"))
