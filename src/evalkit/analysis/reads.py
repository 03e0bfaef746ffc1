"""Which cell of a notebook made a table of results, and which cells read it: noted while the notebook runs.

`evalkit.pipeline.origins` joins the numbers of executions noted here with the cells of the executed notebook.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from IPython import get_ipython

from evalkit.core.result import Results

CELLS = "cells"


class FollowedResults(Results):
    """Results that note in a file which cell asks for which table; to their reader they are like any others."""

    def __init__(self, frame: pd.DataFrame, *, notes: Path, made: int) -> None:
        super().__init__(frame)
        self._notes = notes
        self._made = made
        self._read: dict[int, list[str]] = {}
        self._write()

    def table(self, name: str) -> pd.DataFrame:
        cell = cell_number()
        names = self._read.setdefault(cell, [])
        if cell and name not in names:
            names.append(name)
            self._write()
        return super().table(name)

    def _write(self) -> None:
        read = {str(cell): sorted(names) for cell, names in sorted(self._read.items()) if cell}
        self._notes.write_text(json.dumps({"made": self._made, "read": read}, indent=1) + "\n", encoding="utf-8")


def follow_results(results: Results, *, notebook: str, workings: Path | str) -> Results:
    """The same results, which from here on note their readers in `<workings>/cells/<notebook>.json`.

    Outside a notebook there is no cell to note, and the results come back as they are.
    """
    cell = cell_number()
    if not cell:
        return results
    folder = Path(workings) / CELLS
    folder.mkdir(parents=True, exist_ok=True)
    return FollowedResults(results.frame, notes=folder / f"{notebook}.json", made=cell)


def cell_number() -> int:
    """The number of execution of the cell that is running; 0 outside a notebook.

    It is the place of the cell in the history of inputs, where it stands while it runs. `execution_count` of the shell
    is raised before the cell in some versions of IPython and after it in others.
    """
    shell = get_ipython()
    return len(shell.history_manager.input_hist_parsed) - 1 if shell is not None else 0
