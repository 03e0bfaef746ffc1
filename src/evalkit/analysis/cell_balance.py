"""How far four weighted cells differ in their characteristics, as cells of a results table."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from evalkit.core.result import Cell


def build_balance_cells(balance: pd.DataFrame, covariates: pd.DataFrame, cell: np.ndarray) -> list[Cell]:
    """The largest standardised difference between cells in each covariate, before weighting and after.

    `n_people` is the smallest cell. The difference before weighting in what people have or have not is arithmetic on
    their numbers, so `n_events` gives the gate the fewest who have it, or have it not, in any cell.

    Parameters
    ----------
    balance : DataFrame with `covariate, unweighted, weighted`, a row a covariate
    covariates : DataFrame, shape (n, p), those that weights were fitted with
    cell : int array, shape (n,), codes from 0
    """
    smallest = float(np.bincount(cell).min())
    cells = []
    for row in balance.itertuples():
        name, fewest = str(row.covariate).replace("_", " "), _fewest(covariates[row.covariate], cell)
        for column, value, events in (
            ("unweighted", row.unweighted, fewest),
            ("weighted", row.weighted, math.nan),
        ):
            cells.append(Cell(
                str(row.covariate), column, float(value), "statistic", unit="standard deviations",
                n_people=smallest, n_events=events, label=name,
            ))  # fmt: skip
    return cells


def _fewest(covariate: pd.Series, cell: np.ndarray) -> float:
    """Fewest with one of two values in a cell; NaN for what has more than two."""
    values = covariate.to_numpy(dtype=float)
    if len(np.unique(values)) > 2:
        return math.nan
    ones = np.bincount(cell, weights=values == values.max())
    return float(min(ones.min(), (np.bincount(cell) - ones).min()))
