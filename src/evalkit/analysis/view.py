"""Results as small tables for a notebook's reader."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.core.result import Results


class Readable(pd.DataFrame):
    """A table that a notebook shows whole: long sentences and all rows, which pandas cuts off."""

    @property
    def _constructor(self) -> type[Readable]:
        return Readable

    def _repr_html_(self) -> str | None:
        with pd.option_context("display.max_colwidth", None, "display.max_rows", None):
            return super()._repr_html_()


def view_effects(results: Results, table: str = "effects") -> pd.DataFrame:
    """Estimates, one row each: outcome, role, estimator, value, interval, level, p, reason; rounded to read."""
    rows = results.table(table)
    out = rows[["outcome", "role", "estimator", "value", "lower", "upper", "level", "p_value", "unit"]].copy()
    for column in ("value", "lower", "upper"):
        out[column] = [_short(v) for v in out[column]]
    for column in ("level", "p_value"):
        out[column] = ["" if np.isnan(v) else f"{v:.3f}" for v in out[column]]
    return Readable(out.assign(reason=rows["reason"]))


def why_not(results: Results, table: str) -> str:
    """Why a table holds no number; empty where it holds one."""
    rows = results.table(table)
    if rows["value"].notna().any() or rows["lower"].notna().any():
        return ""
    reasons = [reason for reason in dict.fromkeys(rows["reason"]) if reason]
    return " ".join(reasons) or "There is none."


def view_wide(results: Results, table: str) -> pd.DataFrame:
    """A descriptive table as it will be read: rows by columns, numbers rounded to read."""
    rows = results.table(table)
    wide = rows.pivot(index="row", columns="column", values="value")
    wide = wide.reindex(index=rows["row"].unique(), columns=rows["column"].unique())
    return wide.map(_short).rename_axis(index=None, columns=None)


def view_intervals(results: Results, table: str) -> pd.DataFrame:
    """A descriptive table with each number's interval beside it, and the reason where there is none."""
    rows = results.table(table)
    told = [
        r.reason
        if np.isnan(r.value)
        else _short(r.value) + ("" if np.isnan(r.lower) else f" ({_short(r.lower)} to {_short(r.upper)})")
        for r in rows.itertuples()
    ]
    wide = rows.assign(told=told).pivot(index="row", columns="column", values="told").fillna("")
    wide = wide.reindex(index=rows["row"].unique(), columns=rows["column"].unique())
    return Readable(wide.rename_axis(index=None, columns=None))


def view_checks(results: Results, table: str = "") -> pd.DataFrame:
    """Every check with what it found, of one table of estimates or of all."""
    kinds = results.frame
    names = [f"checks.{table}"] if table else list(dict.fromkeys(kinds.loc[kinds["kind"] == "check", "table"]))
    rows = pd.concat([results.table(name) for name in names]) if names else kinds
    rows = rows[rows["kind"] == "check"]
    return Readable(rows[["row", "column", "unit", "reason"]].rename(columns={"unit": "result"}).reset_index(drop=True))


def _short(value: float) -> str:
    if np.isnan(value):
        return ""
    if abs(value) >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
