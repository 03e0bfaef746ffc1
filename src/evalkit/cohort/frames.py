"""Faults of a frame of people, told by name and count, with how to find the rows and never the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, ParameterError, suggest_name
from evalkit.core.faults import is_whole, refuse

FEW = 10  # below this a number of rows is not written into a message, which may leave the secure side
_MANY_LEVELS = 50  # of a text: more, and most of them held by one row, are names of people rather than kinds
_LARGEST = 1e100  # of a covariate: the squares of larger numbers overflow
_DATES = ("datetime", "datetime64", "date", "time", "timedelta", "timedelta64", "period")
_NUMBERS = ("integer", "floating", "mixed-integer-float", "boolean", "decimal")


def how_many(count: int) -> str:
    """A number of rows for a message: exact from `FEW` on, else 'fewer than 10'."""
    return f"{count:,} rows" if count >= FEW else f"fewer than {FEW} rows"


def require_columns(df: pd.DataFrame, names: Sequence[str | None], *, where: str) -> None:
    """Refuse a frame without rows, columns that are missing, and columns that stand in it twice."""
    if not isinstance(df, pd.DataFrame):
        raise ParameterError(Fault(where, "a pandas DataFrame is wanted", got=type(df).__name__))
    faults = [] if len(df) else [Fault(where, "the frame has no rows", next_step="Check how it was selected.")]
    for name in dict.fromkeys(n for n in names if n is not None):
        if name not in df.columns:
            hint = suggest_name(str(name), [str(c) for c in df.columns])
            faults.append(Fault(where, f'there is no column "{name}"', next_step=hint))
        elif (df.columns == name).sum() > 1:
            faults.append(Fault(where, f'the column "{name}" stands in the frame twice'))
    refuse(faults)


def numbers(df: pd.DataFrame, column: str) -> tuple[np.ndarray, list[Fault]]:
    """A column as finite floats, shape (n,), and what is wrong with it. Dates are no numbers: they have no unit."""
    kind = pd.api.types.infer_dtype(df[column], skipna=True)
    if kind in _DATES or kind == "complex":
        what, step = ("complex numbers", "") if kind == "complex" else (
            "dates or durations, which have no unit",
            f'Count days from a date: `(df["{column}"] - origin) / pd.Timedelta(days=1)`.',
        )  # fmt: skip
        return np.zeros(len(df)), [Fault(column, f"it holds {what}", allowed="numbers", next_step=step)]
    values = pd.to_numeric(df[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(values)
    if not bad.any():
        return values, []
    return values, [
        Fault(
            column,
            f"{how_many(int(bad.sum()))} are missing, infinite or not a number",
            next_step=f'`df[~np.isfinite(pd.to_numeric(df["{column}"], errors="coerce"))]` finds them.',
        )
    ]


def codes(df: pd.DataFrame, column: str | None) -> tuple[np.ndarray, tuple[object, ...], list[Fault]]:
    """A grouping column as codes from 0 in sorted order, shape (n,), its labels, and what is wrong with it.

    Without a column every row is a group of its own, labelled by its place.
    """
    if column is None:
        return np.arange(len(df)), (), []
    values = df[column]
    if values.isna().any():
        fault = Fault(
            column,
            f"{how_many(int(values.isna().sum()))} are empty",
            next_step=f'`df[df["{column}"].isna()]` finds them.',
        )
        return np.zeros(len(df), dtype=np.int64), (), [fault]
    try:
        found, labels = pd.factorize(values, sort=True)
    except TypeError:
        step = f'Make it text: `df["{column}"].astype(str)`.'
        fault = Fault(column, "its values are of kinds that cannot be told apart or put in order", next_step=step)
        return np.zeros(len(df), dtype=np.int64), (), [fault]
    return found.astype(np.int64), tuple(labels), []


def design_columns(df: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...], list[Fault]]:
    """Covariates as a float matrix (n, p): numbers and yes/no as they are, text as indicators.

    The first category in sorted order, or in the order of a pandas Categorical, is the reference and has no
    column; others are named `column=category`. Refused are dates, texts that are names of people, and columns of one
    name, of which only the first would ever be read.
    """
    parts: list[np.ndarray] = []
    found: list[str] = []
    faults: list[Fault] = []
    for name in names:
        column = df[name]
        kind = "categorical" if isinstance(column.dtype, pd.CategoricalDtype) else _kind(column)
        if pd.api.types.is_numeric_dtype(column) or kind in (*_NUMBERS, *_DATES, "complex"):
            values, wrong = numbers(df, name)
            faults += wrong or _size_faults(values, name)
            parts.append(values[:, None])
            found.append(name)
            continue
        if column.isna().any():
            faults.append(Fault(name, f"{how_many(int(column.isna().sum()))} are empty"))
            continue
        if kind == "mixed":
            faults.append(Fault(name, "its values are of several kinds", allowed="numbers, yes/no, or text"))
            continue
        kinds = column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype("category")
        kinds = kinds.cat.remove_unused_categories()
        levels = list(kinds.cat.categories)
        if len(levels) > max(_MANY_LEVELS, len(df) // 2):
            step = "Leave it out, or group its values."
            faults.append(Fault(name, "most of its values stand in one row: it names people", next_step=step))
            continue
        parts.append((kinds.cat.codes.to_numpy()[:, None] == np.arange(1, len(levels))).astype(np.float64))
        found += [f"{name}={level}" for level in levels[1:]]
    twice = sorted({str(name) for name in found if found.count(name) > 1})
    faults += [Fault(name, "two covariates have this name", next_step="Rename one of them.") for name in twice]
    matrix = np.concatenate(parts, axis=1) if parts else np.empty((len(df), 0))
    return matrix, tuple(found), faults


def _kind(column: pd.Series) -> str:
    return pd.api.types.infer_dtype(column, skipna=True)


def _size_faults(values: np.ndarray, name: str) -> list[Fault]:
    large = np.abs(values) > _LARGEST
    if not large.any():
        return []
    what = f"{how_many(int(large.sum()))} are too large to be squared"
    return [Fault(name, what, allowed=f"up to {_LARGEST:g}", next_step="Measure it in another unit.")]


def cause_faults(cause: object, causes: Sequence[str]) -> list[Fault]:
    """What is wrong with a cause, which is counted from 1."""
    if is_whole(cause) and 1 <= cause <= len(causes):
        return []
    allowed = ", ".join(f"{k} ({name})" for k, name in enumerate(causes, 1))
    return [Fault("cause", "there is no such cause", got=str(cause), allowed=allowed)]


def as_numbers(values: Iterable[object] | np.ndarray, where: str) -> np.ndarray:
    """A list of numbers as floats, shape (m,) or as given; raises ParameterError for what is none."""
    try:
        return np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
    except (TypeError, ValueError):
        got = type(values).__name__
    raise ParameterError(Fault(where, "a list of numbers is wanted", got=got))
