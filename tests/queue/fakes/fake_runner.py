"""`python -m fake_runner QUEUE`: works a queue whose jobs are fakes."""

from __future__ import annotations

import sys
from pathlib import Path

from sana_wm.errors import InterruptedRunError, SanaWMError
from sana_wm.queue.folder import Queue
from sana_wm.queue.job import Job
from sana_wm.queue.runner import Runner


def fake_command(_queue: Queue, job: Job) -> list[str]:
    return ["fake_job", job.name, job.run_dir]


def main() -> None:
    try:
        stop = Runner(Queue(Path(sys.argv[1])), say=lambda line: print(line, flush=True), command=fake_command).work()
    except SanaWMError as error:
        print(error, flush=True)
        sys.exit(error.exit_code)
    sys.exit(0 if stop is None else InterruptedRunError.exit_code)


if __name__ == "__main__":
    main()
