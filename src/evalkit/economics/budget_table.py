"""The table `budgets`, read with suspicion: one programme, pounds only, numbers that are numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, ParameterError, suggest_name
from evalkit.core.faults import refuse

CURRENCY = "GBP"
AMOUNTS = ("original_gbp", "actual_gbp")
_NEEDED = ("programme", "year", *AMOUNTS)


def select_budgets(budgets: pd.DataFrame, programme: str | None) -> pd.DataFrame:
    """Original and actual budget of one programme, the only one where none is named, by `year`, as floats.

    Missing, zero and negative amounts are left in: they are refused where their number would have stood.

    Raises ParameterError, with all faults at once, for columns that are missing, another currency than pounds or more
    than one, several programmes of which none was picked, a programme that is not there, years that are missing, not
    whole or given twice, and amounts that are no numbers.
    """
    if not isinstance(budgets, pd.DataFrame):
        raise ParameterError(Fault("budgets", "a pandas DataFrame is wanted", type(budgets).__name__))
    absent = [c for c in _NEEDED if c not in budgets.columns]
    refuse(
        Fault("budgets", f'there is no column "{c}"', next_step=suggest_name(c, [str(x) for x in budgets.columns]))
        for c in absent
    )
    if not len(budgets):
        raise ParameterError(Fault("budgets", "the table has no rows"))
    rows, faults = _pick(budgets, programme)
    faults += _currency_faults(rows)
    years = _as_float(rows["year"])
    if not np.all(np.isfinite(years) & (years == np.round(years))):
        faults.append(Fault("budgets, year", "some are missing or no whole number"))
    elif rows["programme"].nunique() == 1:
        twice = sorted({int(y) for y in years if (years == y).sum() > 1})
        faults += [Fault("budgets, year", "a year is given twice", str(y)) for y in twice]
    amounts = {name: _as_float(rows[name]) for name in AMOUNTS}
    for name, values in amounts.items():
        lost = np.isnan(values) & rows[name].notna().to_numpy()
        if lost.any() or np.isinf(values).any():
            faults.append(Fault(f"budgets, {name}", "some are infinite or no numbers", allowed="GBP, digits only"))
    refuse(faults)
    return pd.DataFrame(amounts, index=pd.Index(years.astype(np.int64), name="year")).sort_index()


def _pick(budgets: pd.DataFrame, programme: str | None) -> tuple[pd.DataFrame, list[Fault]]:
    """Rows of the programme asked for, or all rows where there is one only."""
    if budgets["programme"].isna().any():
        return budgets, [Fault("budgets, programme", "some are missing")]
    names = sorted(str(name) for name in budgets["programme"].unique())
    if not programme:
        if len(names) == 1:
            return budgets, []
        step = 'Say which with programme="...".'
        return budgets, [Fault("budgets", "several programmes are in the table", ", ".join(names), "one", step)]
    rows = budgets[budgets["programme"].astype(str) == programme]
    if len(rows):
        return rows, []
    fault = Fault("programme", "there is no budget of it", str(programme), ", ".join(names),
                  suggest_name(str(programme), names))  # fmt: skip
    return budgets, [fault]


def _currency_faults(rows: pd.DataFrame) -> list[Fault]:
    if "currency" not in rows.columns:
        return []
    found = rows["currency"]
    named = sorted({str(c).strip().upper() for c in found.dropna()} | ({"none given"} if found.isna().any() else set()))
    if named == [CURRENCY]:
        return []
    what = "several currencies are mixed" if len(named) > 1 else "the currency is not pounds"
    step = "Convert the amounts to pounds before they are compared, and say at which rate."
    return [Fault("budgets, currency", what, ", ".join(named), CURRENCY, step)]


def _as_float(column: pd.Series) -> np.ndarray:
    """Floats, NaN where a cell is empty or no number; dates and yes/no are no numbers."""
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind.startswith(("date", "time", "period", "bool", "complex")):
        return np.full(len(column), np.nan)
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
