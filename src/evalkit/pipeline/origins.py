"""From which cell of which notebook each table of numbers came, told from the executed notebooks of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat

from evalkit.analysis.reads import CELLS
from evalkit.core.errors import Fault, OutputError
from evalkit.core.result import Results

Origins = dict[str, dict[str, dict[str, str]]]


def find_origins(workings: Path, notebooks: Iterable[str]) -> Origins:
    """For each table that may reach the gate, the cells that made and showed it, by notebook.

    `{"effects": {"03_readmissions": {"made": "03-02", "shown": "03-04"}}}`: `made` is the cell that saved the numbers,
    `shown` the first later cell that read the table and has an output; the key is left out where there is no such
    cell. The notes are taken by `evalkit.analysis.reads` while a notebook runs.

    Parameters
    ----------
    workings
        The folder of the run: `<notebook>.ipynb` as executed, `results/<notebook>.parquet`, `cells/<notebook>.json`.

    Raises
    ------
    OutputError
        If a notebook has numbers and notes of its cells, but was executed some other time than these notes.
    """
    found: Origins = {}
    faults: list[Fault] = []
    for name in notebooks:
        path = workings / "results" / f"{name}.parquet"
        tables = list(dict.fromkeys(Results.load(path).frame["table"])) if path.is_file() else []
        cells = _cells_of(workings, name, faults)
        for table in tables:
            found.setdefault(str(table), {})[name] = _told(cells, str(table))
    if faults:
        raise OutputError(faults)
    return {table: dict(sorted(by.items())) for table, by in sorted(found.items())}


def _cells_of(workings: Path, name: str, faults: list[Fault]) -> Mapping[str, Any]:
    """The id of the cell that saved, and of each cell with an output that read, with what it read, in order."""
    notes, executed = workings / CELLS / f"{name}.json", workings / f"{name}.ipynb"
    if not notes.is_file() or not executed.is_file():
        return {"made": "", "read": []}
    noted = json.loads(notes.read_text(encoding="utf-8"))
    cells = {
        cell.execution_count: cell
        for cell in nbformat.read(executed, as_version=4).cells
        if cell.cell_type == "code" and cell.execution_count
    }
    numbers = [noted["made"], *(int(number) for number in noted["read"])]
    if any(number not in cells for number in numbers):
        faults.append(Fault(executed.name, "its cells are not those that were noted when its numbers were made",
                            next_step="Run the evaluation anew."))  # fmt: skip
        return {"made": "", "read": []}
    shown = [
        (cells[int(number)].id, names)
        for number, names in sorted(noted["read"].items(), key=lambda pair: int(pair[0]))
        if int(number) > noted["made"] and cells[int(number)].outputs
    ]
    return {"made": cells[noted["made"]].id, "read": shown}


def _told(cells: Mapping[str, Any], table: str) -> dict[str, str]:
    made = {"made": cells["made"]} if cells["made"] else {}
    shown = [cell for cell, names in cells["read"] if table in names]
    return made | ({"shown": shown[0]} if shown else {})
