"""Discharges with what was known at them, checked on construction, and their split by date."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields, replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.result import Check

ColumnType = Literal["number", "category"]
MISSING_LEVEL = "(missing)"
NOT_RECORDED = "not recorded"
_FEW_VALUES = 10
_LARGEST = 1e100  # the squares of larger numbers overflow


@dataclass(frozen=True, eq=False, repr=False)
class RiskData:
    """Discharges, what was known of them at discharge, and whether the outcome followed.

    Parameters
    ----------
    features : DataFrame (n, p); numbers, booleans or categories, missing allowed, no dates.
    outcome : (n,) 0 or 1, known for every row: leave out discharges not followed to the horizon.
    person : (n,) identifiers that tie discharges of one person together; never a predictor.
    time : (n,) dates of discharge, kept as `datetime64[D]`.
    event : (n,) what came first within the horizon: 0 nothing, 1 the outcome, 2 death, which competes.
    event_days : (n,) days from discharge to `event`, or to the horizon; models of time to event need both.
    groups : DataFrame (n, g) of text or categories by which performance is compared (missing: not recorded). A
        group is no predictor unless it is also among `features`.
    known_on : DataFrame (n, at most p), columns of `features`: the day on which each value was recorded.

    Fails with `ParameterError`, all faults at once; among them a value of `features` recorded after discharge.
    Neither `repr` nor an error shows a row.
    """

    features: pd.DataFrame
    outcome: np.ndarray
    person: np.ndarray
    time: np.ndarray
    event: np.ndarray | None = None
    event_days: np.ndarray | None = None
    groups: pd.DataFrame | None = None
    known_on: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        faults = _shape_faults(self) or [*_value_faults(self), *_feature_faults(self)]
        faults = faults or [*_event_faults(self), *_dating_faults(self)]
        if faults:
            raise ParameterError(faults)
        kept = {
            "features": self.features.reset_index(drop=True).copy(),
            "outcome": np.asarray(self.outcome).astype(np.int64),
            "person": np.array(self.person),
            "time": np.asarray(self.time).astype("datetime64[D]"),
            "event": None if self.event is None else np.asarray(self.event).astype(np.int64),
            "event_days": None if self.event_days is None else np.asarray(self.event_days, dtype=np.float64),
            "groups": pd.DataFrame(index=range(len(self.features))) if self.groups is None else _as_groups(self.groups),
            "known_on": None if self.known_on is None else self.known_on.reset_index(drop=True).copy(),
        }
        for name, value in kept.items():
            object.__setattr__(self, name, value)

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
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return RiskData(**{name: None if value is None else value[rows] for name, value in parts.items()})

    def with_features(self, features: pd.DataFrame) -> RiskData:
        """The same discharges with other predictors, such as imputed ones."""
        return replace(self, features=features, known_on=None)


def _as_groups(groups: pd.DataFrame) -> pd.DataFrame:
    levels = {name: as_levels(groups[name]) for name in groups}
    return pd.DataFrame(levels, index=range(len(groups))).replace(MISSING_LEVEL, NOT_RECORDED)


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
        if isinstance(kind, pd.StringDtype):
            return "category"
        held = {type(value) for value in values.dropna()}
        return "category" if all(issubclass(one, str | bool | np.bool_) for one in held) else None
    return None


def as_numbers(values: pd.Series) -> np.ndarray:
    return pd.to_numeric(values).to_numpy(dtype=float, na_value=np.nan)


def number_faults(where: str, values: pd.Series) -> list[Fault]:
    """Numbers (n,) that cannot be reckoned with."""
    size = np.abs(as_numbers(values))
    if np.isinf(size).any():
        return [Fault(where, "holds an infinite number")]
    if (size > _LARGEST).any():
        return [Fault(where, "holds a number too large", allowed=f"{_LARGEST:g} or less")]
    return []


def as_levels(values: pd.Series) -> np.ndarray:
    levels = values.astype(object)
    return levels.map(str).where(levels.notna(), MISSING_LEVEL).to_numpy(dtype=object)


def _shape_faults(data: RiskData) -> list[Fault]:
    if not isinstance(data.features, pd.DataFrame):
        return [Fault("RiskData.features", "is not a DataFrame", type(data.features).__name__)]
    rows = len(data.features)
    faults = []
    for name in ("outcome", "person", "time", "event", "event_days"):
        if getattr(data, name) is None:
            continue
        shape = np.shape(getattr(data, name))
        if shape != (rows,):
            faults.append(Fault(f"RiskData.{name}", "does not match the features", f"shape {shape}", f"({rows},)"))
    for name in ("groups", "known_on"):
        frame = getattr(data, name)
        if frame is not None and not isinstance(frame, pd.DataFrame):
            faults.append(Fault(f"RiskData.{name}", "is not a DataFrame", type(frame).__name__))
        elif frame is not None and len(frame) != rows:
            faults.append(
                Fault(f"RiskData.{name}", "does not match the features", f"{len(frame)} rows", f"{rows} rows")
            )
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
        faults += number_faults(where, values) if kind == "number" else []
        if _are_the_same(values, person):
            faults.append(Fault(where, "is the person's identifier", next_step="Leave it out"))
        if _tells_outcome(values, outcome):
            faults.append(Fault(where, "is the outcome under another name", next_step="Leave it out"))
    return faults


def _event_faults(data: RiskData) -> list[Fault]:
    faults = []
    if data.event is not None:
        event = pd.Series(np.asarray(data.event))
        if not event.isin([0, 1, 2]).all():
            faults.append(Fault("RiskData.event", "is missing or holds other values", allowed="0, 1 and 2"))
        elif not np.array_equal(event.to_numpy() == 1, np.asarray(data.outcome) == 1):
            faults.append(Fault("RiskData.event", "does not say 1 exactly where the outcome does"))
    if data.event_days is not None:
        days = pd.to_numeric(pd.Series(np.asarray(data.event_days)), errors="coerce").to_numpy(dtype=float)
        if not np.all(np.isfinite(days) & (days >= 0)):
            faults.append(Fault("RiskData.event_days", "is missing, infinite or below 0"))
    return faults


def _dating_faults(data: RiskData) -> list[Fault]:
    """A value recorded after discharge could not have been known at discharge."""
    if data.known_on is None:
        return []
    faults = []
    discharge = np.asarray(data.time).astype("datetime64[D]")
    for name in data.known_on:
        where, days = f'predictor "{name}"', data.known_on[name]
        if name not in data.features:
            faults.append(Fault(where, "has a date in known_on but is no predictor"))
        elif not pd.api.types.is_datetime64_any_dtype(days):
            faults.append(Fault(where, "known_on is not a date", str(days.dtype), "datetime64"))
        elif (days.to_numpy().astype("datetime64[D]") > discharge).any():
            step = "Take the last value recorded on or before the day of discharge"
            faults.append(Fault(where, "was recorded after discharge for some", next_step=step))
    return faults


def _are_the_same(values: pd.Series, person: pd.Series) -> bool:
    """Whether a predictor is the identifier; a few rows tell most apart without turning all into text."""
    return all(values[:rows].astype(str).equals(person[:rows]) for rows in (100, len(values)))


def _tells_outcome(values: pd.Series, outcome: pd.Series) -> bool:
    """Whether a predictor of few values, each met more than once, decides the outcome entirely."""
    codes, levels = pd.factorize(values, use_na_sentinel=False)
    if not 2 <= len(levels) <= _FEW_VALUES or outcome.min() == outcome.max():
        return False
    size, events = np.bincount(codes), np.bincount(codes, outcome)
    return bool((size > 1).all() and ((events == 0) | (events == size)).all())
