"""One evaluation from its tables to both reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console

import evalkit
from evalkit.core.errors import EvalkitError, Fault, NotebookError, OutputError, ParameterError
from evalkit.core.protocol import Protocol, load_protocol
from evalkit.core.result import Results
from evalkit.data import Tables, require_usable
from evalkit.disclose import Release, load_release, policy, release
from evalkit.pipeline.origins import find_origins
from evalkit.pipeline.plan import DEFAULT_PLAN, Plan, check_notebooks, notebook_path
from evalkit.pipeline.progress import Progress, show_progress
from evalkit.pipeline.provenance import (
    code_digest,
    environment_versions,
    notebook_digest,
    package_digest,
    package_folder,
)
from evalkit.pipeline.reporting import write_reports
from evalkit.pipeline.run import Job, run_jobs
from evalkit.pipeline.staging import Staging, Start, check_output, is_reusable, open_staging, publish, record_finished
from evalkit.review.load import load_review
from evalkit.review.record import Review

T = TypeVar("T")


@dataclass(frozen=True)
class _Inputs:
    protocol_file: Path
    protocol: Protocol
    tables: Tables
    notebooks: Path
    plan: Plan
    reviews: Path | None
    review: Review
    earlier: Release | None


def default_notebooks() -> Path:
    """The notebooks of the checkout that evalkit runs from, or else `notebooks` where the command was given."""
    beside = package_folder().parents[1] / "notebooks"
    return beside if beside.is_dir() else Path("notebooks")


def evaluate(
    protocol: Path | str,
    data: Path | str,
    out: Path | str,
    *,
    notebooks: Path | str | None = None,
    jobs: int = 2,
    start: Start = "anew",
    plan: Plan = DEFAULT_PLAN,
    console: Console | None = None,
    reviews: Path | str | None = None,
    earlier: Path | str | None = None,
) -> Path:
    """Run the analysis notebooks, pass their numbers through the gate, render the reports, replace `out`.

    Parameters
    ----------
    protocol, data, out
        The protocol's TOML file, the folder of tables, and the folder to write.
    jobs
        How many notebooks run at once.
    start
        "resume" goes on from where a failed run on the same inputs stopped.
    reviews
        The folder of readers' comments and their answers, which the reports print.
    earlier
        The folder of a release that the same readers have: what both would tell together is withheld.

    Returns the output folder. It is replaced in one step at the very end, or not at all.

    Raises
    ------
    EvalkitError
        Before anything is run, with every fault of protocol, tables, notebooks and output at once.
    NotebookError
        When a notebook fails; what had finished is kept beside `out` for `start="resume"`.
    OutputError
        When the output cannot be written; nothing is kept.
    """
    out = Path(out).resolve()
    console = console or Console(stderr=True)
    inputs = _checked(
        Path(protocol), Path(data), out, Path(notebooks or default_notebooks()), plan, jobs=jobs,
        reviews=Path(reviews) if reviews else None, earlier=Path(earlier) if earlier else None,
    )  # fmt: skip
    steps = len(plan.analysis) + 1 + 2 * len(plan.reports)
    with open_staging(out, _digests(inputs), start=start) as (staging, said), show_progress(steps, console) as progress:
        if said:
            progress.note(said)
        _analyse(inputs, staging, n_jobs=jobs, progress=progress)
        _pass_gate(inputs, staging, progress)
        more = write_reports(
            staging, plan=plan, protocol=inputs.protocol, notebooks=inputs.notebooks, reviews=inputs.reviews,
            review=inputs.review, n_jobs=jobs, progress=progress,
        )  # fmt: skip
        publish(staging, tuple(report.stem for report in plan.reports), more=more)
    return out


def _digests(inputs: _Inputs) -> dict[str, str]:
    """What must be the same for a run that stopped to be resumed."""
    return {
        "protocol": inputs.protocol.digest,
        "data": inputs.tables.digest,
        "code": package_digest(),
        "environment": "; ".join(f"{name} {version}" for name, version in environment_versions().items()),
    }


def _checked(
    protocol: Path, data: Path, out: Path, notebooks: Path, plan: Plan, *, jobs: int, reviews: Path | None,
    earlier: Path | None,
) -> _Inputs:  # fmt: skip
    """Everything the run needs, or one error with all that is wrong with it."""
    errors: list[EvalkitError] = []

    def attempt(load: Callable[[], T]) -> T | None:
        try:
            return load()
        except EvalkitError as error:
            errors.append(error)
            return None

    if jobs < 1:
        errors.append(ParameterError(Fault("jobs", "at least one notebook must run at a time", got=str(jobs))))
    loaded = attempt(lambda: load_protocol(protocol))
    # Without a protocol the tables can still be held to their own contract.
    tables = attempt(lambda: require_usable(data, loaded))
    review = attempt(lambda: _review_in(reviews))
    before = attempt(lambda: load_release(earlier)) if earlier else None
    faulty = check_notebooks(notebooks, plan)
    if faulty:
        errors.append(ParameterError(faulty))
    unwritable = check_output(out, tuple(report.stem for report in plan.reports))
    if unwritable:
        errors.append(OutputError(unwritable))
    if loaded is None or tables is None or review is None or errors:
        raise _joined(errors)
    found = reviews.resolve() if reviews else None
    return _Inputs(protocol.resolve(), loaded, tables, notebooks.resolve(), plan, found, review, before)


def _review_in(folder: Path | None) -> Review:
    """The record of comments; a folder that is named must be there, or a misspelt one would lose every comment."""
    if folder is not None and not folder.is_dir():
        raise ParameterError(
            Fault(str(folder), "there is no such folder of comments", next_step="Make it, or leave it out.")
        )
    return load_review(folder or "")


def _joined(errors: list[EvalkitError]) -> EvalkitError:
    if len(errors) == 1:
        return errors[0]
    return EvalkitError([fault for error in errors for fault in error.faults])


def _analyse(inputs: _Inputs, staging: Staging, *, n_jobs: int, progress: Progress) -> None:
    digests = {
        step.notebook: notebook_digest(notebook_path(inputs.notebooks, step.notebook)) for step in inputs.plan.analysis
    }
    parameters = {
        "protocol": str(inputs.protocol_file),
        "data": str(Path(inputs.tables.folder).resolve()),
        "workings": str(staging.workings),
    }
    reused: set[str] = set()
    jobs = []
    for step in inputs.plan.analysis:
        name = step.notebook
        if set(step.after) <= reused and is_reusable(staging, name, digests[name]):
            reused.add(name)
            progress.reused(name)
        else:
            staging.finished.pop(name, None)
            staging.results(name).unlink(missing_ok=True)
            jobs.append(Job(notebook_path(inputs.notebooks, name), staging.executed(name), parameters, step.after))

    def finish(job: Job) -> None:
        _require_results(job, staging)
        record_finished(staging, job.name, digests[job.name])

    run_jobs(jobs, n_jobs=n_jobs, progress=progress, on_finished=finish)


def _require_results(job: Job, staging: Staging) -> None:
    path = staging.results(job.name)
    if not path.is_file():
        raise NotebookError(
            Fault(job.name, "it ended without writing its numbers", allowed=f"workings/results/{path.name}",
                  next_step="Let it save its Results there, and give the same command with --resume.")
        )  # fmt: skip


def _pass_gate(inputs: _Inputs, staging: Staging, progress: Progress) -> None:
    progress.started("disclosure control")
    protocol, tables = inputs.protocol, inputs.tables
    results = Results.concat(_stamped(inputs, staging))
    provenance = {
        "evalkit_version": evalkit.__version__,
        "data_digest": tables.digest,
        "tables": {name: {"rows": int(tables.ibis(name).count().execute())} for name in tables.names},
        "code_digest": code_digest(inputs.notebooks, inputs.plan),
        "environment": environment_versions(),
        "origins": find_origins(staging.workings, [step.notebook for step in inputs.plan.analysis]),
    }
    released = release(
        results, policy=policy(protocol.disclosure.profile), protocol=protocol, provenance=provenance,
        earlier=inputs.earlier,
    )  # fmt: skip
    released.save(staging.folder)
    progress.finished("disclosure control")


def _stamped(inputs: _Inputs, staging: Staging) -> Iterable[Results]:
    for step in inputs.plan.analysis:
        results = Results.load(staging.results(step.notebook))
        yield results.stamped(notebook=step.notebook, protocol=inputs.protocol.digest, data=inputs.tables.digest)
