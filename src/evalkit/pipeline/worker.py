"""One notebook in a process of its own: `python worker.py JOB.json OUTCOME.json`.

The process ends with 0 whether or not the notebook did; what became of it is in the outcome file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import papermill
from nbclient.exceptions import DeadKernelError

# Of kernels that start together two may choose the same port, and the second never answers: begin again.
START_SECONDS = 45
TRIES = 3
_NO_ANSWER = "Kernel didn't respond"


def execute(job: dict) -> dict:
    """Run the notebook of a job; say how it ended, and where and why if it failed."""
    try:
        _run(job, tries=TRIES)
    except papermill.PapermillExecutionError as error:
        return {
            "end": "error",
            "cell": error.exec_count,
            "source": error.source,
            "error": error.ename,
            "message": error.evalue,
        }
    except DeadKernelError:
        message = "The kernel died while it ran; most often because memory ran out. Try --jobs 1."
        return {"end": "error", "cell": None, "source": "", "error": "DeadKernelError", "message": message}
    except OSError as error:
        return {"end": "os", "errno": error.errno, "message": error.strerror or str(error)}
    return {"end": "ok"}


def _run(job: dict, *, tries: int) -> None:
    try:
        papermill.execute_notebook(
            job["notebook"],
            job["executed"],
            parameters=job["parameters"],
            kernel_name="python3",
            cwd=job["folder"],
            progress_bar=False,
            start_timeout=START_SECONDS,
        )
    except RuntimeError as error:
        if tries <= 1 or not str(error).startswith(_NO_ANSWER):
            raise
        _run(job, tries=tries - 1)


def main() -> None:
    job_file, outcome_file = (Path(argument) for argument in sys.argv[1:3])
    outcome = execute(json.loads(job_file.read_text(encoding="utf-8")))
    outcome_file.write_text(json.dumps(outcome), encoding="utf-8")


if __name__ == "__main__":
    main()
