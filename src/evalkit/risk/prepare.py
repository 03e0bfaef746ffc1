"""What a model was developed with, column by column, and the refusal of discharges that are not like it.

Levels, medians and scales are learnt inside the pipeline, from development discharges alone; what stands here is
types, and what prediction checks before the pipeline sees a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from evalkit.cohort.frames import FEW, how_many
from evalkit.core.errors import Fault, suggest_name
from evalkit.core.faults import choice_faults, refuse
from evalkit.core.result import Check
from evalkit.risk.data import MISSING_LEVEL, ColumnType, as_levels, as_numbers, column_type, number_faults

OnUnseen = Literal["refuse", "pool"]
# Levels rarer than this share of the development discharges are pooled, without looking at outcomes.
RARE_LEVEL_SHARE = 0.02
# A column of which more than this share lies outside the development range fails a check.
TOLERATED_OUTSIDE_SHARE = 0.01
_MANY_LEVELS = 50  # more, and most of them held by one discharge: names or notes, which no contract may list


@dataclass(frozen=True)
class RiskColumn:
    """A predictor as the model was developed with it.

    `levels` are those that a category had in development, rare ones too. `low` to `high` is the range of a number:
    its 1st to 99th percentile, widened by half as much on either side (not below 0 where nothing was) and rounded
    outwards, or the least and greatest value where every value is shared by at least 10 discharges. So it tells no
    single person's value. `missing`: whether some were missing in development.
    """

    name: str
    type: ColumnType
    levels: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    missing: bool = False


def describe_columns(features: pd.DataFrame) -> tuple[RiskColumn, ...]:
    """The columns (p) of development features (n, p), in order.

    Raises ParameterError for a column that is missing for everybody, and for a category of more than 50 levels most of
    which one discharge alone holds: names or free text, which a model would learn and its contract would list.
    """
    columns, faults = [], []
    for name in features:
        values = features[name]
        missing = bool(values.isna().any())
        if values.isna().all():
            faults.append(Fault(f'predictor "{name}"', "is missing for everybody", next_step="Leave it out"))
            continue
        if column_type(values) == "number":
            low, high = _range(as_numbers(values.dropna()))
            columns.append(RiskColumn(name, "number", low=low, high=high, missing=missing))
            continue
        held = pd.Series(as_levels(values.dropna())).value_counts()
        if len(held) > _MANY_LEVELS and (held == 1).mean() > 0.5:
            step = "Leave it out, or put its levels into groups"
            got = f"{len(held)} levels"
            faults.append(Fault(f'predictor "{name}"', "looks like names or free text", got, next_step=step))
        columns.append(RiskColumn(name, "category", tuple(sorted(held.index)), missing=missing))
    refuse(faults)
    return tuple(columns)


def build_frame(features: pd.DataFrame, columns: Sequence[RiskColumn]) -> pd.DataFrame:
    """The model's columns in its order: numbers as float with NaN, categories as text without nulls."""
    read = {"number": as_numbers, "category": as_levels}
    return pd.DataFrame({c.name: read[c.type](features[c.name]) for c in columns})


def check_features(
    columns: Sequence[RiskColumn],
    features: pd.DataFrame,
    *,
    on_unseen: OnUnseen = "refuse",
    most_outside_share: float = 0.1,
) -> tuple[Check, ...]:
    """Hold new discharges `features` (m, q) against the columns that a model was developed with.

    `on_unseen`: whether levels never seen in development (and missing values where development had none) are refused,
    or "pool": counted with the rare levels (a missing number: as the median), which a failed check says.

    Returns the checks `numbers_in_range`, which fails where more than 1% of a column lies outside its range, and
    `levels_known`. Raises ParameterError, all faults at once: no discharges, columns that are missing, doubled or
    changed in type, infinite numbers, levels never seen, and columns with more than `most_outside_share` outside.
    """
    refuse(choice_faults("on_unseen", on_unseen, ("refuse", "pool")) or _frame_faults(features, columns))
    faults: list[Fault] = []
    outside: list[str] = []
    unseen: list[str] = []
    for column in columns:
        values, where = features[column.name], f'predictor "{column.name}"'
        wrong = _type_faults(values, column)
        if wrong:
            faults += wrong
            continue
        strange = _unseen_faults(values, column)
        if strange:
            unseen.append(column.name)
            faults += strange if on_unseen == "refuse" else []
        if column.type == "number":
            beyond = _is_beyond(as_numbers(values), column)
            if beyond.mean() > most_outside_share:
                got = f"{how_many(int(beyond.sum()))}, more than {most_outside_share:.0%}"
                step = "Is it in another unit, or are these other people than the model was developed on?"
                faults.append(
                    Fault(where, "lies outside the range of development", got, _told_range(column), step)
                )  # fmt: skip
            elif beyond.mean() > TOLERATED_OUTSIDE_SHARE:
                outside.append(column.name)
    refuse(faults)
    return _input_checks(outside, unseen)


def find_outside(columns: Sequence[RiskColumn], features: pd.DataFrame) -> np.ndarray:
    """Whether any number of a discharge lies outside its development range, bool (m,)."""
    beyond = [_is_beyond(as_numbers(features[c.name]), c) for c in columns if c.type == "number"]
    return np.any([np.zeros(len(features), dtype=bool), *beyond], axis=0)


# ---- parts of pipelines --------------------------------------------------------------------------


def build_linear_preparation(columns: Sequence[RiskColumn]) -> ColumnTransformer:
    """The median for a missing number with an indicator of it, and a column a level, rare ones pooled."""
    numbers = _names(columns, "number")
    return ColumnTransformer(
        [
            ("number", SimpleImputer(strategy="median", keep_empty_features=True), numbers),
            ("missing", MissingIndicator(error_on_new=False, sparse=False), numbers),
            ("category", _one_hot(), _names(columns, "category")),
        ],
        sparse_threshold=0,
    )


def build_tree_preparation(columns: Sequence[RiskColumn]) -> ColumnTransformer:
    """Numbers as they are, missing ones too (which then take a branch), and a column a level, rare ones pooled."""
    return ColumnTransformer(
        [
            ("number", "passthrough", _names(columns, "number")),
            ("category", _one_hot(), _names(columns, "category")),
        ],
        sparse_threshold=0,
    )


def count_parameters(preparation: ColumnTransformer, frame: pd.DataFrame, columns: Sequence[RiskColumn]) -> int:
    """Candidate parameters: one a number and indicator of missingness, levels less one a category; at least 1."""
    prepared = preparation.fit(frame)
    return max(1, len(prepared.get_feature_names_out()) - len(_names(columns, "category")))


def _one_hot() -> OneHotEncoder:
    # Every level keeps a column: the ridge then treats levels alike, and an unseen level is no warning.
    return OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=RARE_LEVEL_SHARE, sparse_output=False)


def _names(columns: Sequence[RiskColumn], kind: ColumnType) -> list[str]:
    return [c.name for c in columns if c.type == kind]


# ---- faults --------------------------------------------------------------------------------------


def _frame_faults(features: pd.DataFrame, columns: Sequence[RiskColumn]) -> list[Fault]:
    if not isinstance(features, pd.DataFrame):
        return [Fault("features", "a pandas DataFrame is wanted", type(features).__name__)]
    faults = [] if len(features) else [Fault("features", "holds no discharge")]
    there = [str(name) for name in features.columns]
    for column in columns:
        where = f'predictor "{column.name}"'
        if column.name not in there:
            faults.append(Fault(where, "is missing", next_step=suggest_name(column.name, there)))
        elif there.count(column.name) > 1:
            faults.append(Fault(where, "stands in the frame twice"))
    if faults:  # what there is may be looked at too, so that all is said at once
        left = [c for c in columns if there.count(c.name) == 1]
        faults += [fault for c in left for fault in _type_faults(features[c.name], c)]
    return faults


def _type_faults(values: pd.Series, column: RiskColumn) -> list[Fault]:
    where, got = f'predictor "{column.name}"', column_type(values)
    if got != column.type and not values.isna().all():
        return [Fault(where, "has changed its type", got or str(values.dtype), column.type)]
    return number_faults(where, values) if got == "number" else []


def _unseen_faults(values: pd.Series, column: RiskColumn) -> list[Fault]:
    where, faults = f'predictor "{column.name}"', []
    if column.type == "category":
        found = set(as_levels(values)) - set(column.levels) - {MISSING_LEVEL}
        if found:
            got = f"{len(found)} level{'s' if len(found) > 1 else ''} never seen in development"
            step = "Check the coding; a model knows nothing of them"
            faults.append(Fault(where, "holds unseen categories", got, f"the {len(column.levels)} known", step))
    if values.isna().any() and not column.missing:
        step = "Fill them as they were filled for development, or leave these discharges out"
        faults.append(Fault(where, "is missing for some, as it never was in development", next_step=step))
    return faults


def _input_checks(outside: list[str], unseen: list[str]) -> tuple[Check, ...]:
    near = "Numbers lie within the range of development."
    beyond = f"More than {TOLERATED_OUTSIDE_SHARE:.0%} lies outside the range of development: {', '.join(outside)}."
    known = "Every level was seen in development."
    strange = f"Holds levels, or missing values, never seen in development, counted as rare: {', '.join(unseen)}."
    return (
        Check("numbers_in_range", not outside, float(len(outside)), beyond if outside else near),
        Check("levels_known", not unseen, float(len(unseen)), strange if unseen else known),
    )


# ---- ranges --------------------------------------------------------------------------------------


def _range(numbers: np.ndarray) -> tuple[float, float]:
    """Lower and upper end, as `RiskColumn` says."""
    held = np.unique(numbers, return_counts=True)[1]
    if held.min() >= FEW:
        return float(numbers.min()), float(numbers.max())
    first, last = np.quantile(numbers, [0.01, 0.99])
    width = last - first or 4 * numbers.std()
    unit = 10.0 ** math.floor(math.log10(width)) if width > 0 else max(1.0, abs(last))
    low, high = math.floor((first - width / 2) / unit) * unit, math.ceil((last + width / 2) / unit) * unit
    return max(low, 0.0) if numbers.min() >= 0 else low, high


def _is_beyond(numbers: np.ndarray, column: RiskColumn) -> np.ndarray:
    return (numbers < column.low) | (numbers > column.high)


def _told_range(column: RiskColumn) -> str:
    return f"{column.low:g} to {column.high:g}"
