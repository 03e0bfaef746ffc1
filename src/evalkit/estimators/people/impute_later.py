"""Imputation models that are kept, and fill rows met later one at a time.

The parameters of imputation i are those drawn in the last round of its chain; a later row runs the same chain with
them held fixed. Its random numbers come from a hash of its own key, so that what it is given depends on nothing but
its own values, its key and the kept models: not on the rows beside it, on their order, or on how often it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy import special

from evalkit.cohort.frames import how_many
from evalkit.core.errors import Fault, suggest_name
from evalkit.core.faults import refuse, rng_faults
from evalkit.estimators.people.impute import ColumnModel, Imputed, Variable, design_columns
from evalkit.estimators.people.impute_draws import NumberDraw, fill_category, fill_number

MOST_DONORS = 1000  # observed values kept of one column in one imputation, evenly along their predictions
_GOLDEN = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1


@dataclass(frozen=True, eq=False, repr=False)
class KeptImputation:
    """What filled the frames of `fit_imputation`, without their rows.

    `names` of the columns, in order; `labels` of each (empty for numbers); `start` holds up to `MOST_DONORS` observed
    values of each, in rising order; `chains` one an imputation; `key` seeds the hash. Where numbers were matched,
    `start` and `chains` hold single observed values: guard it like the data.
    """

    names: tuple[str, ...]
    labels: tuple[tuple[object, ...], ...]
    start: tuple[np.ndarray, ...]
    chains: tuple[tuple[ColumnModel, ...], ...]
    iterations: int
    key: int

    def __repr__(self) -> str:
        return f"KeptImputation(names={list(self.names)}, imputations={len(self.chains)})"


def keep_imputation(imputed: Imputed, *, iterations: int, rng: np.random.Generator) -> KeptImputation:
    """The models of `imputed`, to fill later rows in `iterations` rounds each."""
    refuse(rng_faults(rng))
    variables = imputed.variables
    return KeptImputation(
        tuple(v.name for v in variables),
        tuple(v.labels for v in variables),
        tuple(_thin(np.sort(v.values[~v.missing])) for v in variables),
        tuple(tuple(replace(model, drawn=_with_fewer_donors(model.drawn)) for model in c) for c in imputed.chains),
        iterations,
        int(rng.integers(_WORD, dtype=np.uint64)),
    )


def impute_later(
    kept: KeptImputation,
    frame: pd.DataFrame,
    *,
    keys: Sequence[object],
    on_unseen: Literal["refuse", "pool"] = "refuse",
) -> tuple[pd.DataFrame, ...]:
    """Fill what is missing in later rows, once an imputation; other columns are left as they are.

    Parameters
    ----------
    keys : (n,) a stable name of each row, such as its discharge's identifier. Rows of one key share random numbers.
    on_unseen : a category never met in development is refused, or stays and tells nothing of what is missing beside it

    Raises
    ------
    ParameterError
        A column that is absent, or holds an infinite number, a category never met in development (under "refuse"), or
        a missing value where development had none (no model was learnt for it); keys that do not match or are missing.
    """
    variables, faults = _read_all(kept, frame, on_unseen)
    held = pd.Series(np.asarray(keys))
    if len(held) != len(frame) or held.isna().any():
        faults.append(Fault("keys", "are missing for some rows, or do not match", f"{len(held)}", f"{len(frame)} keys"))
    refuse(faults)
    rows = np.flatnonzero(np.logical_or.reduce([v.missing for v in variables]))
    if not len(rows):
        return tuple(frame.copy() for _ in kept.chains)
    stream = _mix(pd.util.hash_array(held.iloc[rows].astype(str).to_numpy(dtype=object)) ^ _word(kept.key))
    part = [replace(v, values=v.values[rows], missing=v.missing[rows]) for v in variables]
    return tuple(_write(frame, part, rows, _run(kept, part, stream, i)) for i in range(len(kept.chains)))


def _run(kept: KeptImputation, variables: list[Variable], stream: np.ndarray, imputation: int) -> list[np.ndarray]:
    """Filled values of the rows that lack any, after the last round of one imputation."""
    count, step = len(variables), imputation * (kept.iterations + 1) * len(variables)
    filled = []
    for j, v in enumerate(variables):
        place = (_uniform(stream, step + j) * len(kept.start[j])).astype(np.int64)
        filled.append(np.where(v.missing, kept.start[j][place], v.values))
    designs = [_design(v, x) for v, x in zip(variables, filled, strict=True)]
    for turn in range(1, kept.iterations + 1):
        for model in kept.chains[imputation]:
            j = model.column
            gaps = variables[j].missing
            if not gaps.any():
                continue
            x = np.concatenate([d[gaps] for k, d in enumerate(designs) if k != j], axis=1)
            x = (x[:, model.kept] - model.center[model.kept]) / model.scale[model.kept]
            x[np.isnan(x)] = 0.0  # an unseen category: what is so on average
            uniform = _uniform(stream[gaps], step + turn * count + j)
            filled[j][gaps] = _fill(model, x, uniform)
            designs[j] = _design(variables[j], filled[j])
    return filled


def _design(variable: Variable, values: np.ndarray) -> np.ndarray:
    """Design columns (k, p), NaN where the category was never met in development."""
    return np.where((values < 0)[:, None] & (not variable.is_number), np.nan, design_columns(variable, values))


def _fill(model: ColumnModel, x: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    if not isinstance(model.drawn, NumberDraw):
        return fill_category(model.drawn, x, uniform)
    donors = model.drawn.donors
    return fill_number(model.drawn, x, (uniform * donors).astype(np.int64) if donors else special.ndtri(uniform))


# ---- random numbers of a row ---------------------------------------------------------------------


def _uniform(stream: np.ndarray, step: int) -> np.ndarray:
    """One number strictly between 0 and 1 for each row, by SplitMix64 (Steele, Lea and Flood 2014, OOPSLA '14)."""
    bits = _mix(stream + _word((step + 1) * _GOLDEN & _WORD)) >> np.uint64(11)
    return (bits.astype(np.float64) + 0.5) * 2.0**-53


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * _word(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * _word(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _word(value: int) -> np.ndarray:
    # An array: its products wrap around as they should, those of a scalar would warn.
    return np.array([value], dtype=np.uint64)


# ---- reading and writing -------------------------------------------------------------------------


def _thin(values: np.ndarray) -> np.ndarray:
    return values[_evenly(len(values))]


def _with_fewer_donors(drawn: object) -> object:
    if not isinstance(drawn, NumberDraw) or not drawn.donors:
        return drawn
    return replace(drawn, predictions=_thin(drawn.predictions), values=_thin(drawn.values))


def _evenly(count: int) -> np.ndarray:
    kept = min(count, MOST_DONORS)
    return ((np.arange(kept) + 0.5) * count / kept).astype(np.int64)


def _read_all(kept: KeptImputation, frame: pd.DataFrame, on_unseen: str) -> tuple[list[Variable], list[Fault]]:
    learnt = {model.column for model in kept.chains[0]}
    variables, faults = [], []
    for j, (name, labels) in enumerate(zip(kept.names, kept.labels, strict=True)):
        where = f'predictor "{name}"'
        if name not in frame:
            faults.append(Fault(where, "is missing", next_step=suggest_name(name, [str(c) for c in frame])))
            continue
        missing = frame[name].isna().to_numpy()
        if missing.any() and j not in learnt:
            what = f"{how_many(int(missing.sum()))} are missing, and none was in development"
            step = "No model was learnt for it: find out why, fill it by hand, or develop anew with its gaps."
            faults.append(Fault(where, what, next_step=step))
        values, wrong = _read(frame[name], missing, labels)
        if wrong and not (labels and on_unseen == "pool"):
            faults.append(Fault(where, wrong))
        variables.append(Variable(name, values, labels, missing))
    return variables, faults


def _read(column: pd.Series, missing: np.ndarray, labels: tuple[object, ...]) -> tuple[np.ndarray, str]:
    if not labels:
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        wrong = ~np.isfinite(numbers) & ~missing
        said = f"{how_many(int(wrong.sum()))} are infinite or no number" if wrong.any() else ""
        return np.where(missing, 0.0, numbers), said
    places = {label: place for place, label in enumerate(labels)}
    codes = column.astype(object).map(places).astype(np.float64).to_numpy(dtype=np.float64, na_value=np.nan)
    unseen = np.isnan(codes) & ~missing
    said = f"{how_many(int(unseen.sum()))} hold a category never met in development" if unseen.any() else ""
    return np.where(missing, 0.0, np.where(unseen, -1.0, codes)), said


def _write(frame: pd.DataFrame, variables: list[Variable], rows: np.ndarray, filled: list[np.ndarray]) -> pd.DataFrame:
    """A copy of `frame` with the gaps of `rows` filled; what was observed stays as it was."""
    new = frame.copy()
    for v, values in zip(variables, filled, strict=True):
        if not v.missing.any():
            continue
        gaps = rows[v.missing]
        if v.is_number:
            whole = frame[v.name].to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
            whole[gaps] = values[v.missing]
            new[v.name] = whole
            continue
        levels = frame[v.name].astype(object).to_numpy(copy=True)
        levels[gaps] = [v.labels[int(code)] for code in values[v.missing]]
        new[v.name] = pd.Series(levels, index=frame.index).infer_objects()
    return new
