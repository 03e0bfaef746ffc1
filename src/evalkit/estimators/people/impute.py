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
from evalkit.estimators.people.impute_draws import (
    CategoryDraw,
    NumberDraw,
    fill_category,
    fill_number,
    fit_category,
    fit_number,
)

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


@dataclass(frozen=True, eq=False, repr=False)
class ColumnModel:
    """How the missing values of one column (its place, `column`) were drawn in the last round.

    The design columns of all other columns are taken less `center`, over `scale`, where `kept` (all of length p).
    """

    column: int
    center: np.ndarray
    scale: np.ndarray
    kept: np.ndarray
    drawn: NumberDraw | CategoryDraw


@dataclass(frozen=True, eq=False, repr=False)
class Imputed:
    """Filled `frames`, one an imputation; the `chains` of models that filled them last; and the `variables`."""

    frames: tuple[pd.DataFrame, ...]
    chains: tuple[tuple[ColumnModel, ...], ...]
    variables: tuple[Variable, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Variable:
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
    return list(fit_imputation(frame, columns=columns, options=options, rng=rng).frames)


def fit_imputation(
    frame: pd.DataFrame,
    *,
    columns: Sequence[str],
    options: ImputeOptions = ImputeOptions(),
    rng: np.random.Generator,
) -> Imputed:
    """As `impute_missing`, and keep the models, so that rows met later can be filled by them (`impute_later`)."""
    require_columns(frame, list(columns), where=_WHERE)
    refuse([*_option_faults(options, columns), *rng_faults(rng)])
    variables, faults = [], []
    for name in columns:
        variable, wrong = _read(frame[name], name, options)
        variables.append(variable)
        faults += wrong
    refuse(faults)
    streams = rng.spawn(options.imputations)
    runs = [_run_chain(variables, options, stream) for stream in streams]
    frames = tuple(_write(frame, variables, filled) for filled, _ in runs)
    return Imputed(frames, tuple(chain for _, chain in runs), tuple(variables))


def _run_chain(
    variables: list[Variable], options: ImputeOptions, rng: np.random.Generator
) -> tuple[list[np.ndarray], tuple[ColumnModel, ...]]:
    """Filled values of every variable after the last round, and the models of that round."""
    filled = [v.values.copy() for v in variables]
    for variable, values in zip(variables, filled, strict=True):
        gaps = variable.missing
        values[gaps] = rng.choice(variable.values[~gaps], size=int(gaps.sum()))
    order = sorted((int(v.missing.sum()), j) for j, v in enumerate(variables) if v.missing.any())
    models = {}
    for _ in range(options.iterations):
        for _, j in order:
            filled[j], models[j] = _draw_column(j, variables, filled, options, rng)
    return filled, tuple(models.values())


def _draw_column(
    j: int, variables: list[Variable], filled: list[np.ndarray], options: ImputeOptions, rng: np.random.Generator
) -> tuple[np.ndarray, ColumnModel]:
    """Column j with its gaps filled anew, and the model that filled them."""
    others = [design_columns(v, x) for k, (v, x) in enumerate(zip(variables, filled, strict=True)) if k != j]
    x = np.concatenate(others, axis=1)
    center = x.mean(axis=0)
    largest = np.maximum(x.max(axis=0), -x.min(axis=0))
    x -= center  # in place, as what follows: of 100,000 rows copying takes longer than regression
    scale = np.sqrt(np.einsum("ij,ij->j", x, x) / len(x))
    kept = scale > 1e-12 * np.maximum(largest, 1e-300)
    x = x if kept.all() else x[:, kept]
    x /= scale[kept]
    variable, gaps, values = variables[j], variables[j].missing, filled[j].copy()
    rows = int(gaps.sum())
    if variable.is_number:
        donors = options.donors if options.numbers == "matching" else None
        drawn = fit_number(x[~gaps], values[~gaps], donors=donors, rng=rng)
        noise = rng.integers(drawn.donors, size=rows) if drawn.donors else rng.standard_normal(rows)
        values[gaps] = fill_number(drawn, x[gaps], noise)
    else:
        known = values[~gaps].astype(np.int64)
        drawn = fit_category(x[~gaps], known, kinds=len(variable.labels), rng=rng)
        values[gaps] = fill_category(drawn, x[gaps], rng.random(rows))
    return values, ColumnModel(j, center, scale, kept, drawn)


def design_columns(variable: Variable, values: np.ndarray) -> np.ndarray:
    """Design columns of a filled variable: itself, or indicators of all categories but the first."""
    if variable.is_number:
        return values[:, None]
    return (values[:, None] == np.arange(1, len(variable.labels))).astype(np.float64)


def _read(column: pd.Series, name: str, options: ImputeOptions) -> tuple[Variable, list[Fault]]:
    missing = column.isna().to_numpy()
    seen = column[~missing]
    none = Variable(name, np.zeros(len(column)), (), missing)
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
            return Variable(name, np.where(missing, 0.0, numbers), (), missing), []
        coded = np.searchsorted(distinct, np.where(missing, distinct[0], numbers)).astype(np.float64)
        return Variable(name, coded, tuple(distinct), missing), []
    codes, labels = pd.factorize(seen, sort=not isinstance(column.dtype, pd.CategoricalDtype))
    if len(labels) > options.max_categories:
        got, allowed = f"{len(labels)} distinct texts", f"{options.max_categories} or fewer"
        return none, [Fault(name, "too many to be categories", got, allowed, "Join rare ones, or leave it out.")]
    values = np.zeros(len(column))
    values[~missing] = codes
    return Variable(name, values, tuple(labels), missing), []


def _write(frame: pd.DataFrame, variables: list[Variable], filled: list[np.ndarray]) -> pd.DataFrame:
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
