"""Run notebooks in processes of their own, side by side where none waits for another."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from evalkit.core.errors import Fault, NotebookError, OutputError
from evalkit.pipeline.progress import Progress
from evalkit.pipeline.provenance import package_folder

MAX_SOURCE_LINES = 15
MAX_MESSAGE_LINES = 5
_POLL_SECONDS = 0.05
_GO_ON = "Correct the cause and give the same command with --resume to go on from here."
# Run as a file, so that it need not import the package, which takes longer than starting a kernel.
_WORKER = Path(__file__).with_name("worker.py")
_FULL = ("No space left on device", "Disk quota exceeded")


@dataclass(frozen=True)
class Job:
    """A notebook to run with these parameters once the jobs named in `after` have finished."""

    notebook: Path
    executed: Path
    parameters: Mapping[str, str]
    after: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.notebook.stem


@dataclass(frozen=True)
class _Running:
    job: Job
    process: subprocess.Popen
    outcome: Path
    stderr: IO[bytes]


def run_jobs(jobs: Sequence[Job], *, n_jobs: int, progress: Progress, on_finished: Callable[[Job], None]) -> None:
    """Run `jobs`, at most `n_jobs` at a time, each after those it waits for.

    Raises
    ------
    NotebookError
        As soon as one fails; those still running are ended.
    OutputError
        When an executed notebook or its numbers could not be written.
    """
    waiting = list(jobs)
    names = {job.name for job in jobs}
    done: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="evalkit-") as scratch, _ended_on_exit() as running:
        while waiting or running:
            ready = [job for job in waiting if set(job.after) & names <= done]
            for job in ready[: n_jobs - len(running)]:
                waiting.remove(job)
                running.append(_start(job, Path(scratch)))
                progress.started(job.name)
            time.sleep(_POLL_SECONDS)
            for item in [item for item in running if item.process.poll() is not None]:
                running.remove(item)
                _raise_failure(item)
                on_finished(item.job)
                done.add(item.job.name)
                progress.finished(item.job.name)


@contextmanager
def _ended_on_exit() -> Iterator[list[_Running]]:
    running: list[_Running] = []
    try:
        yield running
    finally:
        # On SIGTERM the worker shuts its kernel down before it ends; it is given some seconds for that.
        for item in running:
            item.process.terminate()
        for item in running:
            try:
                item.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                item.process.kill()
                item.process.wait()
            item.stderr.close()


def _start(job: Job, scratch: Path) -> _Running:
    folder = scratch / job.name
    folder.mkdir()
    job_file, outcome = folder / "job.json", folder / "outcome.json"
    content = {
        "notebook": str(job.notebook),
        "executed": str(job.executed),
        "folder": str(job.notebook.parent),
        "parameters": dict(job.parameters),
    }
    job_file.write_text(json.dumps(content), encoding="utf-8")
    stderr = (folder / "stderr.txt").open("w+b")
    process = subprocess.Popen(
        [sys.executable, "-P", str(_WORKER), str(job_file), str(outcome)],
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=stderr,
        stderr=stderr,
        start_new_session=True,
    )
    return _Running(job, process, outcome, stderr)


def _environment(folder: Path) -> dict[str, str]:
    """The environment of a notebook: one thread, a fixed hash seed, this evalkit, nobody's own settings."""
    paths = [str(package_folder().parent), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    return {
        **inherited,
        **threads,
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(paths),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }


def _raise_failure(item: _Running) -> None:
    item.stderr.seek(0)
    said = item.stderr.read().decode(errors="replace")
    item.stderr.close()
    if not item.outcome.is_file():
        if any(text in said for text in _FULL):
            raise _unwritten(item.job, _FULL[0])
        raise NotebookError(_process_fault(item, said))
    outcome = json.loads(item.outcome.read_text(encoding="utf-8"))
    if outcome["end"] == "os":
        raise _unwritten(item.job, outcome["message"])
    if outcome["end"] == "error":
        if any(text in outcome["message"] for text in _FULL):
            raise _unwritten(item.job, _FULL[0])
        raise NotebookError(_notebook_fault(item.job, outcome))


def _process_fault(item: _Running, said: str) -> Fault:
    tail = "\n".join(said.strip().splitlines()[-MAX_MESSAGE_LINES:])
    parts = [f"its process ended with code {item.process.returncode}", _indented(tail)]
    return Fault(item.job.name, "\n\n".join([*parts, "  The notebook itself recorded no error"]), next_step=_GO_ON)


def _unwritten(job: Job, why: str) -> OutputError:
    return OutputError(Fault(job.name, why, next_step="Make room or choose another folder and run again."))


def _notebook_fault(job: Job, outcome: dict) -> Fault:
    cell = f"cell In [{outcome['cell']}]" if outcome["cell"] else "between its cells"
    parts = [f"stopped with {outcome['error']}"]
    if outcome["source"]:
        parts.append(_indented("\n".join(_shortened(outcome["source"]))))
    message = re.sub(r"\x1b\[[0-9;]*m", "", outcome["message"]).strip().splitlines()[-MAX_MESSAGE_LINES:]
    parts.append("\n".join(f"  {line}" for line in [f"{outcome['error']}:", *message]))
    parts.append(f"  In {job.executed} the error is marked")
    return Fault(f"{job.name}, {cell}", "\n\n".join(parts), next_step=_GO_ON)


def _shortened(source: str) -> list[str]:
    lines = source.splitlines()
    if len(lines) <= MAX_SOURCE_LINES:
        return lines
    return [*lines[: MAX_SOURCE_LINES - 1], f"... and {len(lines) - MAX_SOURCE_LINES + 1} lines more"]


def _indented(text: str) -> str:
    return "\n".join(f"    | {line}" for line in text.splitlines())
