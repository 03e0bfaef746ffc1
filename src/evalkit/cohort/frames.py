"""Faults of a frame of people, told by name and count, with how to find the rows and never the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, ParameterError, suggest_name

FEW = 10  # below this a number of rows is not written into a message, which may leave the secure side


def how_many(count: int) -> str:
    """A number of rows for a message: exact from `FEW` on, else 'fewer than 10'."""
    return f"{count:,} rows" if count >= FEW else f"fewer than {FEW} rows"


def refuse(faults: Iterable[Fault]) -> None:
    """Raise one ParameterError with all faults, if there are any."""
    found = list(faults)
    if found:
        raise ParameterError(found)


def require_columns(df: pd.DataFrame, names: Sequence[str | None], *, where: str) -> None:
    """Refuse a frame without rows, columns that are missing, and columns that stand in it twice."""
    faults = [] if len(df) else [Fault(where, "the frame has no rows", next_step="Check how it was selected.")]
    for name in dict.fromkeys(n for n in names if n is not None):
        if name not in df.columns:
            hint = suggest_name(name, [str(c) for c in df.columns])
            faults.append(Fault(where, f'there is no column "{name}"', next_step=hint))
        elif (df.columns == name).sum() > 1:
            faults.append(Fault(where, f'the column "{name}" stands in the frame twice'))
    refuse(faults)


def numbers(df: pd.DataFrame, column: str) -> tuple[np.ndarray, list[Fault]]:
    """A column as finite floats, shape (n,), and what is wrong with it."""
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
    found, labels = pd.factorize(values, sort=True)
    return found.astype(np.int64), tuple(labels), []


def design_columns(df: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...], list[Fault]]:
    """Covariates as a float matrix (n, p): numbers and yes/no as they are, text as indicators.

    The first category in sorted order, or in the order of a pandas Categorical, is the reference and has no
    column; others are named `column=category`.
    """
    parts: list[np.ndarray] = []
    found: list[str] = []
    faults: list[Fault] = []
    for name in names:
        column = df[name]
        if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
            values, wrong = numbers(df, name)
            faults += wrong
            parts.append(values[:, None])
            found.append(name)
            continue
        if column.isna().any():
            faults.append(Fault(name, f"{how_many(int(column.isna().sum()))} are empty"))
            continue
        kinds = column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype("category")
        kinds = kinds.cat.remove_unused_categories()
        levels = list(kinds.cat.categories)
        parts.append((kinds.cat.codes.to_numpy()[:, None] == np.arange(1, len(levels))).astype(np.float64))
        found += [f"{name}={level}" for level in levels[1:]]
    matrix = np.concatenate(parts, axis=1) if parts else np.empty((len(df), 0))
    return matrix, tuple(found), faults
