"""Which notebooks there are, what each of them waits for, and which parameters each takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nbformat
import papermill

from evalkit.core.errors import Fault, suggest_name

ANALYSIS_PARAMETERS = ("protocol", "data", "workings")
REPORT_PARAMETERS = ("release", "reviews")


@dataclass(frozen=True)
class Step:
    """An analysis notebook, and the notebooks that must have finished before it starts."""

    notebook: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """A report notebook, which sees the release alone, the stem of its files, and what it is called."""

    notebook: str
    stem: str
    title: str


@dataclass(frozen=True)
class Plan:
    """A whole evaluation: analysis notebooks, then the gate, then the reports."""

    analysis: tuple[Step, ...]
    reports: tuple[Report, ...]

    def __post_init__(self) -> None:
        known: set[str] = set()
        for step in self.analysis:
            unmet = [name for name in step.after if name not in known]
            if unmet:
                raise ValueError(f"{step.notebook} waits for {', '.join(unmet)}, which is not listed before it")
            known.add(step.notebook)

    @property
    def notebooks(self) -> tuple[str, ...]:
        return tuple(s.notebook for s in self.analysis) + tuple(r.notebook for r in self.reports)


DEFAULT_PLAN = Plan(
    analysis=(
        Step("01_data_quality"),
        Step("02_cohort", after=("01_data_quality",)),
        Step("03_readmissions", after=("02_cohort",)),
        Step("04_residential_entry", after=("02_cohort",)),
        Step("05_costs", after=("02_cohort",)),
        Step("06_readmission_risk", after=("02_cohort",)),
        Step("07_pathway", after=("02_cohort",)),
        Step("08_what_people_chose", after=("02_cohort",)),
        Step("10_robustness", after=("02_cohort",)),
    ),
    reports=(
        Report("peer_report", stem="peer", title="peer report"),
        Report("academic_report", stem="academic", title="academic report"),
    ),
)


def notebook_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.ipynb"


def check_notebooks(folder: Path, plan: Plan) -> list[Fault]:
    """Every fault of the notebooks that can be known before one runs; an empty list where there is none.

    papermill only warns of a parameter that a notebook does not have, and then runs it with the
    default: a study would be analysed with another study's tables. Here it is a fault.
    """
    if not folder.is_dir():
        return [Fault(str(folder), "there is no such folder of notebooks", next_step="Name it with --notebooks.")]
    faults: list[Fault] = []
    for step in plan.analysis:
        faults += _check_parameters(notebook_path(folder, step.notebook), ANALYSIS_PARAMETERS)
    for report in plan.reports:
        faults += _check_parameters(notebook_path(folder, report.notebook), REPORT_PARAMETERS)
    return faults


def _check_parameters(path: Path, expected: tuple[str, ...]) -> list[Fault]:
    if not path.is_file():
        there = sorted(p.stem for p in path.parent.glob("*.ipynb"))
        return [Fault(path.name, "this notebook is missing", next_step=suggest_name(path.stem, there))]
    try:
        notebook = nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError):
        return [Fault(path.name, "this is not a notebook", next_step="Save it from Jupyter again.")]
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        return [
            Fault(path.name, 'exactly one cell must carry the tag "parameters"', got=str(len(tagged)),
                  allowed=", ".join(expected))
        ]  # fmt: skip
    try:
        found = tuple(papermill.inspect_notebook(str(path)))
    except ValueError:
        return [Fault(path.name, "it names no kernel", next_step="Save it from Jupyter with the kernel Python 3.")]
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    return [
        Fault(path.name, f'the parameter "{name}" is missing from its parameters cell',
              got=", ".join(found) or "no parameter", next_step=suggest_name(name, unknown))
        for name in missing
    ] + [
        Fault(path.name, f'the pipeline has no parameter "{name}"', allowed=", ".join(expected),
              next_step=suggest_name(name, missing))
        for name in unknown
    ]  # fmt: skip
