"""Multiple imputation by chained equations, of numbers, yes/no and text alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.cohort.frames import how_many, require_columns
from evalkit.core.errors import Fault
from evalkit.core.faults import refuse, rng_faults, whole_faults
from evalkit.estimators.people.impute_draws import draw_category, draw_number

_WHERE = "imputation"
_LARGEST = 1e100


@dataclass(frozen=True)
class ImputeOptions:
    """`imputations` frames, each after `iterations` rounds; `max_categories` guards against text that is a note.

    `numbers`: "matching" borrows observed values from one of the nearest `donors`, so that no value is impossible;
    "normal" draws from the regression. Matching cannot go beyond what was observed: where those missing lie mostly
    beyond (half of x missing, more so where its correlate is high) its 95% intervals covered 87% in 150 simulated
    samples of 250, and those of "normal" 96%.
    """

    imputations: int = 20
    iterations: int = 10
    numbers: Literal["matching", "normal"] = "matching"
    donors: int = 5
    max_categories: int = 30


@dataclass(frozen=True)
class _Variable:
    """One column: numbers, or codes of `labels`; `missing` bool (n,)."""

    name: str
    values: np.ndarray
    labels: tuple[object, ...]
    missing: np.ndarray

    @property
    def is_number(self) -> bool:
        return not self.labels


def impute_missing(
    frame: pd.DataFrame,
    *,
    columns: Sequence[str],
    options: ImputeOptions = ImputeOptions(),
    rng: np.random.Generator,
) -> list[pd.DataFrame]:
    """Fill what is missing in `columns`, `options.imputations` times; other columns are left as they are.

    Each column in turn is regressed on all others of `columns`, the parameters are drawn anew from their posterior
    (so that the imputation is proper), and missing values are drawn: numbers by predictive mean matching of type 1
    (observed values of the nearest `donors`) or from the normal regression, yes/no and text by (multinomial) logistic
    regression with a weak normal prior, which keeps a category that a covariate separates from running off to
    infinity. Numbers with two distinct values are yes/no. Name the outcome among `columns`, else its links with the
    others are weakened (Moons 2006). Somebody with all of `columns` missing is drawn from the models like everybody
    else.

    It holds if values are missing at random given the other columns.

    Returns
    -------
    list of DataFrames like `frame`; a filled column has the type that pandas gives its values: yes/no with gaps
    becomes bool, categories stay categories.

    Raises
    ------
    ParameterError
        Columns that are missing or stand twice, hold dates, nothing, fewer observed values than donors, infinite
        values or more than `max_categories` texts; options out of range; no `rng`.

    References
    ----------
    van Buuren and Groothuis-Oudshoorn 2011, J Statistical Software 45(3); Little 1988, J Business & Economic
    Statistics 6:287 (matching); Morris, White and Royston 2014, BMC Medical Research Methodology 14:75 (type 1,
    donors); White, Daniel and Royston 2010, Computational Statistics & Data Analysis 54:2267 (separation).
    """
    require_columns(frame, list(columns), where=_WHERE)
    refuse([*_option_faults(options, columns), *rng_faults(rng)])
    variables, faults = [], []
    for name in columns:
        variable, wrong = _read(frame[name], name, options)
        variables.append(variable)
        faults += wrong
    refuse(faults)
    streams = rng.spawn(options.imputations)
    return [_write(frame, variables, _run_chain(variables, options, stream)) for stream in streams]


def _run_chain(variables: list[_Variable], options: ImputeOptions, rng: np.random.Generator) -> list[np.ndarray]:
    """Filled values of every variable after the last round."""
    filled = [v.values.copy() for v in variables]
    for variable, values in zip(variables, filled, strict=True):
        gaps = variable.missing
        values[gaps] = rng.choice(variable.values[~gaps], size=int(gaps.sum()))
    order = sorted((int(v.missing.sum()), j) for j, v in enumerate(variables) if v.missing.any())
    for _ in range(options.iterations):
        for _, j in order:
            others = [_columns(v, x) for k, (v, x) in enumerate(zip(variables, filled, strict=True)) if k != j]
            x = _standardise(np.concatenate(others, axis=1) if others else np.empty((len(filled[j]), 0)))
            gaps = variables[j].missing
            if variables[j].is_number:
                donors = options.donors if options.numbers == "matching" else None
                drawn = draw_number(x[~gaps], filled[j][~gaps], x[gaps], donors=donors, rng=rng)
            else:
                kinds = len(variables[j].labels)
                drawn = draw_category(x[~gaps], filled[j][~gaps].astype(np.int64), x[gaps], kinds=kinds, rng=rng)
            filled[j][gaps] = drawn
    return filled


def _columns(variable: _Variable, values: np.ndarray) -> np.ndarray:
    """Design columns of a filled variable: itself, or indicators of all categories but the first."""
    if variable.is_number:
        return values[:, None]
    return (values[:, None] == np.arange(1, len(variable.labels))).astype(np.float64)


def _standardise(x: np.ndarray) -> np.ndarray:
    """Columns that vary, with mean 0 and standard deviation 1."""
    spread = x.std(axis=0)
    keep = spread > 1e-12 * np.maximum(np.abs(x).max(axis=0, initial=0.0), 1e-300)
    return (x[:, keep] - x[:, keep].mean(axis=0)) / spread[keep]


def _read(column: pd.Series, name: str, options: ImputeOptions) -> tuple[_Variable, list[Fault]]:
    missing = column.isna().to_numpy()
    seen = column[~missing]
    none = _Variable(name, np.zeros(len(column)), (), missing)
    if pd.api.types.is_complex_dtype(column):
        return none, [Fault(name, "complex numbers are not imputed")]
    dates = ("date", "datetime", "datetime64", "timedelta", "timedelta64", "time", "period")
    if isinstance(column.dtype, pd.PeriodDtype) or pd.api.types.infer_dtype(column, skipna=True) in dates:
        return none, [Fault(name, "dates are not imputed", next_step="Use days since a date.")]
    if len(seen) < max(options.donors, 2):
        return none, [Fault(name, "too few values are known", allowed=f"{max(options.donors, 2)} or more")]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isinf(numbers).any():
            return none, [Fault(name, f"{how_many(int(np.isinf(numbers).sum()))} are infinite")]
        if np.abs(numbers[~missing]).max() > _LARGEST:
            return none, [Fault(name, "its numbers are too large to be squared", allowed=f"up to {_LARGEST:g}")]
        distinct = np.unique(numbers[~missing])
        if len(distinct) != 2:
            return _Variable(name, np.where(missing, 0.0, numbers), (), missing), []
        coded = np.searchsorted(distinct, np.where(missing, distinct[0], numbers)).astype(np.float64)
        return _Variable(name, coded, tuple(distinct), missing), []
    codes, labels = pd.factorize(seen, sort=not isinstance(column.dtype, pd.CategoricalDtype))
    if len(labels) > options.max_categories:
        got, allowed = f"{len(labels)} distinct texts", f"{options.max_categories} or fewer"
        return none, [Fault(name, "too many to be categories", got, allowed, "Join rare ones, or leave it out.")]
    values = np.zeros(len(column))
    values[~missing] = codes
    return _Variable(name, values, tuple(labels), missing), []


def _write(frame: pd.DataFrame, variables: list[_Variable], filled: list[np.ndarray]) -> pd.DataFrame:
    new = frame.copy()
    for variable, values in zip(variables, filled, strict=True):
        if not variable.missing.any():
            continue
        old = frame[variable.name]
        if variable.is_number:
            new[variable.name] = np.where(variable.missing, values, old.to_numpy(dtype=np.float64, na_value=np.nan))
            continue
        labels = [variable.labels[int(code)] for code in values]
        if isinstance(old.dtype, pd.CategoricalDtype):
            new[variable.name] = pd.Categorical(labels, dtype=old.dtype)
        else:
            new[variable.name] = pd.Series(labels, index=frame.index).infer_objects()
    return new


def _option_faults(options: ImputeOptions, columns: Sequence[str]) -> list[Fault]:
    faults = [
        fault
        for name, least in (("imputations", 2), ("iterations", 1), ("donors", 1), ("max_categories", 2))
        for fault in whole_faults(name, getattr(options, name), least=least)
    ]
    if options.numbers not in ("matching", "normal"):
        faults.append(Fault("numbers", "unknown", str(options.numbers), "matching or normal"))
    if len(columns) < 2 or len(set(columns)) < len(columns):
        faults.append(Fault("columns", "two or more different columns are needed, to learn one from the others"))
    return faults
