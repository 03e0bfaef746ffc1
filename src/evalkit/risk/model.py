"""Develop a readmission risk model on discharges before a date, with all preparation inside the pipeline.

Everything that learns from data (levels, medians, scales, coefficients, trees) is fitted on the
development discharges alone; everything here before the pipeline is a change of type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name
from evalkit.core.result import Check
from evalkit.risk.data import ColumnType, RiskData, as_levels, as_numbers, column_type

ModelKind = Literal["logistic", "gradient_boosting"]

MODEL_LABELS: dict[ModelKind, str] = {
    "logistic": "Logistic regression",
    "gradient_boosting": "Gradient boosting",
}

# Machine learning needed more than ten times the events of logistic regression before its validated
# AUROC stopped falling short of the apparent one (van der Ploeg, Austin and Steyerberg 2014, BMC Med
# Res Methodol 14:137). We refuse on the same floor for both and let a check say when this is not met.
BOOSTING_HUNGER = 10.0
# Levels rarer than this share of the development discharges are pooled, without looking at outcomes.
RARE_LEVEL_SHARE = 0.02
# Counts of events are used in steps of 5 and not below 10, so that no sentence gives an exact one away.
_EVENT_STEP = 5
_FEWEST_EVENTS = 10


@dataclass(frozen=True)
class RiskColumn:
    """A predictor as the model was developed with it."""

    name: str
    type: ColumnType


@dataclass(frozen=True, eq=False, repr=False)
class RiskModel:
    """A developed model. `parameters` are candidate predictor parameters, the intercept not counted."""

    kind: ModelKind
    columns: tuple[RiskColumn, ...]
    pipeline: Pipeline
    parameters: int
    checks: tuple[Check, ...]
    seed: int

    def __repr__(self) -> str:
        return f"RiskModel(kind={self.kind!r}, columns={[c.name for c in self.columns]})"


def fit_risk_model(data: RiskData, *, kind: ModelKind, seed: int, min_events_per_predictor: float = 10.0) -> RiskModel:
    """Develop a risk model on `data`.

    `logistic`: median imputation with indicators of missingness, standardised numbers, one-hot
    categories, ridge penalty C = 1 (fixed beforehand, not tuned). `gradient_boosting`: 100 trees of
    depth 3, learning rate 0.05, early stopping off; missing numbers take a branch of their own. No class
    weights: they would spoil calibration (van den Goorbergh et al. 2022, JAMIA 29:1525).

    Fails with `NotEstimable` where the rarer outcome class holds fewer than
    `min_events_per_predictor` discharges per candidate predictor parameter (Peduzzi et al. 1996, J Clin
    Epidemiol 49:1373). The floor is necessary, not sufficient (Riley et al. 2020, BMJ 368:m441). It is
    the same for boosting, where the check `events_for_boosting` also says whether tenfold is met (see
    `BOOSTING_HUNGER`).
    """
    if kind not in _BUILDERS:
        known = list(_BUILDERS)
        fault = Fault("fit_risk_model", "unknown kind of model", kind, ", ".join(known), suggest_name(kind, known))
        raise ParameterError(fault)
    columns = tuple(RiskColumn(name, column_type(data.features[name])) for name in data.features)
    frame = _as_frame(data.features, columns)
    pipeline = _BUILDERS[kind](columns, seed)
    parameters = _count_parameters(pipeline, frame, columns)
    ratio = _events_per_parameter(data, parameters)
    if ratio < min_events_per_predictor:
        raise _too_few_events(ratio, needed=min_events_per_predictor)
    pipeline.fit(frame, data.outcome)
    return RiskModel(kind, columns, pipeline, parameters, _event_checks(kind, ratio, min_events_per_predictor), seed)


def predict_risk(model: RiskModel, features: pd.DataFrame) -> np.ndarray:
    """Risks (n,), 0 to 1, for the rows of `features` (n, at least the model's columns; others are ignored).

    A level never seen in development counts as a rare one. Fails with `ParameterError` where a column is
    missing, has changed between number and category, or holds an infinite number.
    """
    faults = []
    for column in model.columns:
        where = f'predictor "{column.name}"'
        if column.name not in features:
            faults.append(Fault(where, "is missing", next_step=suggest_name(column.name, [str(c) for c in features])))
            continue
        values = features[column.name]
        got = column_type(values)
        if got != column.type and not values.isna().all():
            faults.append(Fault(where, "has changed its type", got or str(values.dtype), column.type))
        elif got == "number" and np.isinf(as_numbers(values)).any():
            faults.append(Fault(where, "holds an infinite number"))
    if faults:
        raise ParameterError(faults)
    return model.pipeline.predict_proba(_as_frame(features, model.columns))[:, 1]


# ---- pipelines -----------------------------------------------------------------------------------


def _names(columns: tuple[RiskColumn, ...], kind: ColumnType) -> list[str]:
    return [c.name for c in columns if c.type == kind]


def _one_hot() -> OneHotEncoder:
    # Every level keeps a column: the ridge then treats levels alike, and an unseen level is no warning.
    return OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=RARE_LEVEL_SHARE, sparse_output=False)


def _logistic(columns: tuple[RiskColumn, ...], seed: int) -> Pipeline:
    numbers = _names(columns, "number")
    fill = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    prepare = ColumnTransformer(
        [
            ("number", fill, numbers),
            ("missing", MissingIndicator(error_on_new=False, sparse=False), numbers),
            ("category", _one_hot(), _names(columns, "category")),
        ],
        sparse_threshold=0,
    )
    fit = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-8, max_iter=200, random_state=seed)
    return Pipeline([("prepare", prepare), ("fit", fit)])


def _gradient_boosting(columns: tuple[RiskColumn, ...], seed: int) -> Pipeline:
    prepare = ColumnTransformer(
        [
            ("number", "passthrough", _names(columns, "number")),
            ("category", _one_hot(), _names(columns, "category")),
        ],
        sparse_threshold=0,
    )
    fit = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=100, max_depth=3, min_samples_leaf=20, l2_regularization=1.0,
        early_stopping=False, random_state=seed,
    )  # fmt: skip
    return Pipeline([("prepare", prepare), ("fit", fit)])


_BUILDERS: dict[str, Callable[[tuple[RiskColumn, ...], int], Pipeline]] = {
    "logistic": _logistic,
    "gradient_boosting": _gradient_boosting,
}


def _count_parameters(pipeline: Pipeline, frame: pd.DataFrame, columns: tuple[RiskColumn, ...]) -> int:
    """One per number and indicator of missingness, levels less one per category; at least 1."""
    prepared = pipeline.named_steps["prepare"].fit(frame)
    return max(1, len(prepared.get_feature_names_out()) - len(_names(columns, "category")))


def _events_per_parameter(data: RiskData, parameters: int) -> float:
    events = min(data.n_events, len(data) - data.n_events)
    return 0.0 if events < _FEWEST_EVENTS else events // _EVENT_STEP * _EVENT_STEP / parameters


def _too_few_events(ratio: float, *, needed: float) -> NotEstimable:
    got = f"{_floored(ratio)} events per predictor parameter" if ratio else f"fewer than {_FEWEST_EVENTS} events in all"
    advice = "Use fewer predictors, develop on more discharges, or recalibrate a published model"
    return NotEstimable(Fault("risk model", "too few events", got, f"{needed:g} events per predictor or more", advice))


def _event_checks(kind: ModelKind, ratio: float, needed: float) -> tuple[Check, ...]:
    shown = _floored(ratio)
    got = f"{shown} events per predictor parameter"
    checks = (Check("events_per_predictor", passed=True, value=shown, text=f"{got}, {needed:g} needed."),)
    if kind == "gradient_boosting":
        advised = needed * BOOSTING_HUNGER
        text = f"{got}, {advised:g} advised for machine learning."
        checks += (Check("events_for_boosting", passed=ratio >= advised, value=shown, text=text),)
    return checks


def _floored(ratio: float) -> float:
    # Rounded down, so that a refused ratio never reads as the ratio needed.
    return math.floor(ratio * 10 + 1e-9) / 10


def _as_frame(features: pd.DataFrame, columns: tuple[RiskColumn, ...]) -> pd.DataFrame:
    """The model's columns in its order: numbers as float with NaN, categories as text without nulls."""
    read = {"number": as_numbers, "category": as_levels}
    return pd.DataFrame({c.name: read[c.type](features[c.name]) for c in columns})
