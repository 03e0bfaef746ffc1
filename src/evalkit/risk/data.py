"""Discharges with what was known at them, checked on construction, and their split by date."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.result import Check

ColumnType = Literal["number", "category"]
MISSING_LEVEL = "(missing)"
_FEW_VALUES = 10


@dataclass(frozen=True, eq=False, repr=False)
class RiskData:
    """Discharges, what was known of them at discharge, and whether the outcome followed.

    Parameters
    ----------
    features : DataFrame (n, p); numbers, booleans or categories, missing allowed, no dates.
    outcome : (n,) 0 or 1, known for every row: leave out discharges not followed to the horizon.
    person : (n,) identifiers that tie discharges of one person together; never a predictor.
    time : (n,) dates of discharge, kept as `datetime64[D]`.

    Fails with `ParameterError`, all faults at once. Neither `repr` nor an error shows a row.
    """

    features: pd.DataFrame
    outcome: np.ndarray
    person: np.ndarray
    time: np.ndarray

    def __post_init__(self) -> None:
        faults = _shape_faults(self) or [*_value_faults(self), *_feature_faults(self)]
        if faults:
            raise ParameterError(faults)
        object.__setattr__(self, "features", self.features.reset_index(drop=True).copy())
        object.__setattr__(self, "outcome", np.asarray(self.outcome).astype(np.int64))
        object.__setattr__(self, "person", np.array(self.person))
        object.__setattr__(self, "time", np.asarray(self.time).astype("datetime64[D]"))

    def __len__(self) -> int:
        return len(self.outcome)

    def __repr__(self) -> str:
        return f"RiskData(features={list(self.features.columns)})"

    @property
    def n_people(self) -> int:
        return len(pd.unique(self.person))

    @property
    def n_events(self) -> int:
        return int(self.outcome.sum())

    def where(self, rows: np.ndarray) -> RiskData:
        """The discharges for which the boolean `rows` (n,) is true."""
        return RiskData(self.features[rows], self.outcome[rows], self.person[rows], self.time[rows])


class Split(NamedTuple):
    """Development and validation discharges, and checks of how they came apart."""

    development: RiskData
    validation: RiskData
    checks: tuple[Check, ...]


def split_by_date(data: RiskData, *, develop_until: dt.date, horizon_days: int) -> Split:
    """Discharges before `develop_until` for development, those on or after it for validation.

    Follow-up is `[discharge, discharge + horizon_days)`. A discharge whose follow-up runs beyond
    `develop_until` is in neither part: its outcome is only known in the validation period, and a model
    developed on that day could not have seen it. A person may be in both parts; a check gives the share.

    Fails with `NotEstimable` where a part is empty or holds one outcome class only, and with
    `ParameterError` where `horizon_days` is below 1.
    """
    if horizon_days < 1:
        raise ParameterError(Fault("split_by_date", "horizon_days is below 1", str(horizon_days), "1 or more"))
    border = np.datetime64(develop_until, "D")
    early = data.time < border
    develop = early & (data.time + np.timedelta64(horizon_days, "D") <= border)
    parts = {"development": develop, "validation": ~early}
    faults = [
        Fault(
            f"{name} discharges",
            "there are none" if not rows.any() else "they hold one outcome class only",
            next_step="Move develop_until, or gather more discharges",
        )
        for name, rows in parts.items() if len(np.unique(data.outcome[rows])) < 2
    ]  # fmt: skip
    if faults:
        raise NotEstimable(faults)
    both = float(np.isin(pd.unique(data.person[~early]), data.person[develop]).mean())
    purged = float((early & ~develop).sum() / early.sum())
    checks = (
        _share_check("people_in_both_parts", both, "of the people in validation were also in development"),
        _share_check(
            "purged_discharges", purged, "of earlier discharges were left out: their follow-up crosses the split"
        ),
    )
    return Split(data.where(develop), data.where(~early), checks)


def _share_check(name: str, share: float, text: str) -> Check:
    """A share to the nearest 5%: an exact one would give away a count of people."""
    near = round(share * 20) / 20
    words = "None" if share == 0 else "Fewer than 5%" if share < 0.05 else f"About {near:.0%}"
    return Check(name, passed=None, value=near, text=f"{words} {text}.")


# ---- types and faults ----------------------------------------------------------------------------


def column_type(values: pd.Series) -> ColumnType | None:
    """`number`, `category` (also booleans), or None where it is neither (dates, mixtures)."""
    kind = values.dtype
    if isinstance(kind, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(kind):
        return "category"
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind):
        return "number"
    if pd.api.types.is_string_dtype(kind) or pd.api.types.is_object_dtype(kind):
        held = values.dropna()
        return "category" if held.map(lambda v: isinstance(v, str | bool | np.bool_)).all() else None
    return None


def as_numbers(values: pd.Series) -> np.ndarray:
    return pd.to_numeric(values).to_numpy(dtype=float, na_value=np.nan)


def as_levels(values: pd.Series) -> np.ndarray:
    levels = values.astype(object)
    return levels.map(str).where(levels.notna(), MISSING_LEVEL).to_numpy(dtype=object)


def _shape_faults(data: RiskData) -> list[Fault]:
    if not isinstance(data.features, pd.DataFrame):
        return [Fault("RiskData.features", "is not a DataFrame", type(data.features).__name__)]
    rows = len(data.features)
    faults = []
    for name in ("outcome", "person", "time"):
        shape = np.shape(getattr(data, name))
        if shape != (rows,):
            faults.append(Fault(f"RiskData.{name}", "does not match the features", f"shape {shape}", f"({rows},)"))
    if rows == 0:
        faults.append(Fault("RiskData", "holds no discharge"))
    if data.features.shape[1] == 0:
        faults.append(Fault("RiskData.features", "holds no predictor"))
    if not all(isinstance(name, str) for name in data.features):
        faults.append(Fault("RiskData.features", "has a column whose name is not text"))
    twice = data.features.columns[data.features.columns.duplicated()].unique()
    return faults + [Fault("RiskData.features", f'column "{name}" is there twice') for name in twice]


def _value_faults(data: RiskData) -> list[Fault]:
    faults = []
    outcome = pd.Series(np.asarray(data.outcome))
    if outcome.isna().any():
        faults.append(Fault("RiskData.outcome", "is missing for some discharges", next_step="Leave them out"))
    elif not outcome.isin([0, 1]).all():
        faults.append(Fault("RiskData.outcome", "holds other values", allowed="0 and 1"))
    elif outcome.nunique() < 2:
        faults.append(Fault("RiskData.outcome", "holds one class only", allowed="both 0 and 1"))
    if pd.isna(np.asarray(data.person)).any():
        faults.append(Fault("RiskData.person", "is missing for some discharges"))
    time = np.asarray(data.time)
    if not np.issubdtype(time.dtype, np.datetime64):
        faults.append(Fault("RiskData.time", "is not a date", str(time.dtype), "datetime64"))
    elif np.isnat(time).any():
        faults.append(Fault("RiskData.time", "is missing for some discharges"))
    return faults


def _feature_faults(data: RiskData) -> list[Fault]:
    faults = []
    person = pd.Series(np.asarray(data.person)).astype(str)
    outcome = pd.Series(np.asarray(data.outcome))
    for name in data.features:
        values = data.features[name].reset_index(drop=True)
        where, kind = f'predictor "{name}"', column_type(values)
        if kind is None:
            faults.append(Fault(where, "is neither number nor category", str(values.dtype), "numbers, booleans, text"))
            continue
        if kind == "number" and np.isinf(as_numbers(values)).any():
            faults.append(Fault(where, "holds an infinite number"))
        if values.astype(str).equals(person):
            faults.append(Fault(where, "is the person's identifier", next_step="Leave it out"))
        if _tells_outcome(values, outcome):
            faults.append(Fault(where, "is the outcome under another name", next_step="Leave it out"))
    return faults


def _tells_outcome(values: pd.Series, outcome: pd.Series) -> bool:
    """Whether a predictor of few values, each met more than once, decides the outcome entirely."""
    levels = values.astype(object).where(values.notna(), MISSING_LEVEL)
    groups = outcome.groupby(levels.to_numpy())
    mixed = outcome.min() < outcome.max()
    few = mixed and 2 <= groups.ngroups <= _FEW_VALUES and bool((groups.size() > 1).all())
    return few and bool((groups.min() == groups.max()).all())
