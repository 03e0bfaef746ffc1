"""Develop a readmission risk model on discharges before a date, with all preparation inside the pipeline.

Everything that learns from data (levels, medians, scales, coefficients, trees) is fitted on the
development discharges alone; everything here before the pipeline is a change of type.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name
from evalkit.core.faults import choice_faults, is_finite, is_whole, refuse
from evalkit.core.result import Check
from evalkit.risk.competing import CompetingMethod, CompetingRiskClassifier, build_competing_target
from evalkit.risk.data import RiskData
from evalkit.risk.penalised import choose_penalty
from evalkit.risk.prepare import (
    OnUnseen,
    RiskColumn,
    build_frame,
    build_linear_preparation,
    build_tree_preparation,
    check_features,
    count_parameters,
    describe_columns,
)

ModelKind = Literal["prior_admissions", "logistic", "gradient_boosting", "competing_risk", "own"]

MODEL_LABELS: dict[ModelKind, str] = {
    "prior_admissions": "Prior admissions alone",
    "logistic": "Logistic regression",
    "gradient_boosting": "Gradient boosting",
    "competing_risk": "Competing-risk regression",
    "own": "The user's own model",
}

_KINDS = ("prior_admissions", "logistic", "gradient_boosting", "competing_risk")

# Machine learning needed more than ten times the events of logistic regression before its validated
# AUROC stopped falling short of the apparent one (van der Ploeg, Austin and Steyerberg 2014, BMC Med
# Res Methodol 14:137). We refuse on the same floor for both and let a check say when this is not met.
BOOSTING_HUNGER = 10.0
# Counts of events are used in steps of 5 and not below 10, so that no sentence gives an exact one away.
_EVENT_STEP = 5
_FEWEST_EVENTS = 10
# A coefficient of a standardised column beyond this, without a penalty, is on its way to infinity.
_SEPARATED = 15.0


@dataclass(frozen=True)
class ModelOptions:
    """How a model is developed.

    penalty : of `logistic`, half the sum of squared coefficients of standardised columns times this is added to minus
        the log-likelihood (1 / C of scikit-learn); "cross_validated" chooses it by deviance (`choose_penalty`).
    rule_column : the predictor of `prior_admissions`
    competing : "fine_gray" or "cause_specific", of `competing_risk`
    horizon_days : days within which the outcome counts; `competing_risk` reads it from the data where it is not given
    min_events_per_predictor : events per candidate predictor parameter below which a model is refused
    most_outside_share : of a column outside its development range, above which prediction is refused
    """

    penalty: float | Literal["cross_validated"] = 1.0
    rule_column: str = "prior_admissions"
    competing: CompetingMethod = "fine_gray"
    horizon_days: int | None = None
    min_events_per_predictor: float = 10.0
    most_outside_share: float = 0.1


@dataclass(frozen=True)
class Training:
    """What a model was developed on: counts to the nearest 10, and the months of the first and last discharge."""

    discharges: int
    people: int
    events: int
    first_month: str
    last_month: str


@dataclass(frozen=True, eq=False, repr=False)
class RiskModel:
    """A developed model. `parameters` are candidate predictor parameters, the intercept not counted.

    `pipeline` takes the frame that `build_frame` makes of features, in the order of `columns`. `options.penalty` is the
    number that was used, and `options.horizon_days` the horizon, None where the data gave none.
    """

    kind: ModelKind
    columns: tuple[RiskColumn, ...]
    pipeline: Pipeline
    parameters: int
    checks: tuple[Check, ...]
    seed: int
    training: Training
    options: ModelOptions = ModelOptions()

    def __repr__(self) -> str:
        return f"RiskModel(kind={self.kind!r}, columns={[c.name for c in self.columns]})"


def fit_risk_model(data: RiskData, *, kind: ModelKind, seed: int, options: ModelOptions = ModelOptions()) -> RiskModel:
    """Develop a risk model on `data`. No class weights: they would spoil calibration (van den Goorbergh 2022, JAMIA).

    `prior_admissions`: logistic regression on `options.rule_column` alone, the rule to beat. `logistic`: median
    imputation with indicators of missingness, a column a level, all standardised, ridge penalty. `gradient_boosting`:
    100 trees of depth 3, learning rate 0.05, early stopping off; missing numbers take a branch of their own.
    `competing_risk`: `CompetingRiskClassifier`, which needs `event` and `event_days`.

    Fails with `NotEstimable` where the rarer outcome class holds fewer than `options.min_events_per_predictor`
    discharges per candidate predictor parameter (Peduzzi et al. 1996, J Clin Epidemiol 49:1373), and where a
    predictor separates or a fit does not converge. The floor is necessary, not sufficient (Riley et al. 2020, BMJ
    368:m441). It is the same for boosting, where the check `events_for_boosting` also says whether tenfold is met
    (see `BOOSTING_HUNGER`). Fails with `ParameterError` for unknown kinds, options out of range, a rule's column
    that is not there, and data without what came first where that is needed.
    """
    refuse([*choice_faults("fit_risk_model kind", kind, _KINDS), *_option_faults(options)])
    features = _rule_features(data, options) if kind == "prior_admissions" else data.features
    if kind == "competing_risk":
        options = replace(options, horizon_days=_horizon(data, options))
    columns = describe_columns(features)
    frame, pipeline = build_frame(features, columns), _build_pipeline(kind, columns, seed, options)
    ratio, parameters = _gate(data, pipeline, frame, columns, options)
    checks = _event_checks(kind, ratio, options.min_events_per_predictor)
    if kind == "logistic":
        penalty, more = _penalty(data, pipeline, frame, options, seed)
        options, checks = replace(options, penalty=penalty), (*checks, *more)
        pipeline.set_params(fit__C=1 / penalty)
    fitted = _fit(pipeline, kind, frame, build_target(kind, data))
    return RiskModel(kind, columns, fitted, parameters, checks, seed, _describe_training(data), options)


def fit_own_model(
    data: RiskData, estimator: BaseEstimator, *, seed: int, options: ModelOptions = ModelOptions()
) -> RiskModel:
    """Develop any scikit-learn classifier on `data`, prepared as for `logistic`; `estimator` itself stays unfitted.

    A `random_state` that is None becomes `seed`. Fails with `ParameterError` where `estimator` is no classifier with
    `predict_proba` that can be cloned, or its risks of the development discharges are not probabilities (n, 2), and
    with `NotEstimable` where `fit_risk_model` would, for too few events.
    """
    refuse([*_estimator_faults(estimator), *_option_faults(options)])
    columns = describe_columns(data.features)
    frame = build_frame(data.features, columns)
    own = clone(estimator)
    if own.get_params().get("random_state", seed) is None:
        own.set_params(random_state=seed)
    pipeline = Pipeline([("prepare", build_linear_preparation(columns)), ("scale", StandardScaler()), ("fit", own)])
    ratio, parameters = _gate(data, pipeline, frame, columns, options)
    fitted = _fit(pipeline, "own", frame, data.outcome)
    read_probabilities(fitted, frame)
    checks = _event_checks("own", ratio, options.min_events_per_predictor)
    return RiskModel("own", columns, fitted, parameters, checks, seed, _describe_training(data), options)


def predict_risk(model: RiskModel, features: pd.DataFrame, *, on_unseen: OnUnseen = "refuse") -> np.ndarray:
    """Risks (n,), 0 to 1, for the rows of `features` (n, at least the model's columns; others are ignored).

    Fails with `ParameterError`, all faults at once, for what `check_features` refuses (columns missing or changed in
    type, infinite numbers, too many far outside the range of development and, unless `on_unseen` is "pool", levels
    never seen in development), and where the model gives no probability.
    """
    share = model.options.most_outside_share
    check_features(model.columns, features, on_unseen=on_unseen, most_outside_share=share)
    return read_probabilities(model.pipeline, build_frame(features, model.columns))


def build_design(model: RiskModel, features: pd.DataFrame) -> np.ndarray:
    """Prepared predictors (n, k) of `features`, in the order of `list_terms(model.pipeline)`; checks nothing."""
    return np.asarray(model.pipeline[:-1].transform(build_frame(features, model.columns)), dtype=np.float64)


def build_target(kind: ModelKind, data: RiskData) -> np.ndarray:
    """What `RiskModel.pipeline` is fitted to: the outcome (n,), or for `competing_risk` event and days (n, 2)."""
    return build_competing_target(data) if kind == "competing_risk" else data.outcome


# ---- pipelines -----------------------------------------------------------------------------------


def _linear(columns: Sequence[RiskColumn], fit: BaseEstimator) -> Pipeline:
    return Pipeline([("prepare", build_linear_preparation(columns)), ("scale", StandardScaler()), ("fit", fit)])


def _build_pipeline(kind: str, columns: Sequence[RiskColumn], seed: int, options: ModelOptions) -> Pipeline:
    if kind == "gradient_boosting":
        fit = HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=100, max_depth=3, min_samples_leaf=20, l2_regularization=1.0,
            early_stopping=False, random_state=seed,
        )  # fmt: skip
        return Pipeline([("prepare", build_tree_preparation(columns)), ("fit", fit)])
    if kind == "competing_risk":
        return _linear(columns, CompetingRiskClassifier(horizon_days=options.horizon_days, method=options.competing))
    strength = np.inf if kind == "prior_admissions" else 1.0  # the penalty of `logistic` is set once it is known
    fit = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-8, max_iter=200, random_state=seed)
    return _linear(columns, fit)


def fit_pipeline(model: RiskModel, frame: pd.DataFrame, target: np.ndarray) -> Pipeline:
    """The model's pipeline learnt anew from a `build_frame` (n, p) and `build_target`; `model` stays as it is.

    Fails with `NotEstimable` where these cannot be fitted. It does not ask whether there are enough events.
    """
    return _fit(clone(model.pipeline), model.kind, frame, target)


def _fit(pipeline: Pipeline, kind: ModelKind, frame: pd.DataFrame, target: np.ndarray) -> Pipeline:
    label = MODEL_LABELS[kind]
    if kind != "competing_risk" and target.min() == target.max():
        raise NotEstimable(Fault(label, "one outcome class only"))
    try:
        pipeline.fit(frame, target)
    except NotEstimable as refusal:  # said of places in the design: say of which predictors
        names = {f"x{k}": f'predictor "{name}"' for k, name in enumerate(list_terms(pipeline))}
        raise NotEstimable([replace(f, where=names.get(f.where, f.where)) for f in refusal.faults]) from None
    fit = pipeline[-1]
    if kind in ("logistic", "prior_admissions") and np.max(fit.n_iter_) >= fit.max_iter:
        raise NotEstimable(Fault(label, "the fit did not converge"))
    if kind == "prior_admissions" and np.abs(fit.coef_).max() > _SEPARATED:
        raise NotEstimable(Fault(label, "the column separates the two outcomes"))
    return pipeline


def list_terms(pipeline: Pipeline) -> tuple[str, ...]:
    """Names of the prepared columns (k,) of a fitted pipeline: `age_years`, `sex = male`, `sex = (rare levels)`."""
    prepare = pipeline.named_steps["prepare"]
    names = []
    for name in prepare.get_feature_names_out():
        part, _, rest = name.partition("__")
        if part != "category":
            names.append(f"{rest.removeprefix('missingindicator_')} (missing)" if part == "missing" else rest)
            continue
        column = max((c for c in prepare.feature_names_in_ if rest.startswith(f"{c}_")), key=len)
        level = rest[len(column) + 1 :]
        names.append(f"{column} = {'(rare levels)' if level == 'infrequent_sklearn' else level}")
    return tuple(names)


def _describe_training(data: RiskData) -> Training:
    counts = (len(data), data.n_people, data.n_events)
    months = (str(day.astype("datetime64[M]")) for day in (data.time.min(), data.time.max()))
    return Training(*(round(count / 10) * 10 for count in counts), *months)


def read_probabilities(pipeline: Pipeline, frame: pd.DataFrame) -> np.ndarray:
    """Risks (n,) that a fitted pipeline gives to a `build_frame` (n, p); `ParameterError` where they are none."""
    if not hasattr(pipeline, "predict_proba"):  # some have it only as they were set up
        step = "A probability is wanted, not a class."
        raise ParameterError(Fault(type(pipeline[-1]).__name__, "has no predict_proba", next_step=step))
    found = np.asarray(pipeline.predict_proba(frame), dtype=np.float64)
    allowed, got = f"({len(frame)}, 2), each from 0 to 1", f"shape {found.shape}"
    if found.shape != (len(frame), 2):
        raise ParameterError(Fault("predict_proba", "gives no two columns of risks", got, allowed))
    if not np.all((found >= 0) & (found <= 1)):
        raise ParameterError(Fault("predict_proba", "gives risks that are missing, below 0 or above 1", "", allowed))
    return found[:, 1]


def _penalty(
    data: RiskData, pipeline: Pipeline, frame: pd.DataFrame, options: ModelOptions, seed: int
) -> tuple[float, tuple[Check, ...]]:
    if options.penalty != "cross_validated":
        return float(options.penalty), ()
    design = clone(pipeline[:-1]).fit_transform(frame)
    found = choose_penalty(design, data.outcome, person=data.person, rng=np.random.default_rng(seed))
    return found.penalty, found.checks


# ---- refusals ------------------------------------------------------------------------------------


def _option_faults(options: ModelOptions) -> list[Fault]:
    faults = choice_faults("competing", options.competing, ("fine_gray", "cause_specific"))
    if options.penalty != "cross_validated" and not (is_finite(options.penalty) and options.penalty > 0):
        faults.append(Fault("penalty", "out of range", str(options.penalty), 'above 0, or "cross_validated"'))
    if options.horizon_days is not None and not (is_whole(options.horizon_days) and options.horizon_days >= 1):
        faults.append(Fault("horizon_days", "out of range", str(options.horizon_days), "a whole number, 1 or more"))
    least = options.min_events_per_predictor
    if not (is_finite(least) and least > 0):
        faults.append(Fault("min_events_per_predictor", "out of range", str(least), "above 0"))
    if not (is_finite(options.most_outside_share) and 0 <= options.most_outside_share <= 1):
        faults.append(Fault("most_outside_share", "out of range", str(options.most_outside_share), "0 to 1"))
    return faults


def _estimator_faults(estimator: Any) -> list[Fault]:
    where, got = "fit_own_model estimator", type(estimator).__name__
    if isinstance(estimator, type):
        return [Fault(where, "is a class", estimator.__name__, next_step=f"Give {estimator.__name__}().")]
    if not isinstance(estimator, BaseEstimator):
        return [Fault(where, "is no scikit-learn estimator", got, "a BaseEstimator")]
    faults = [] if is_classifier(estimator) else [Fault(where, "is no classifier", got)]
    if not hasattr(type(estimator), "predict_proba"):
        faults.append(Fault(where, "has no predict_proba", got, next_step="A probability is wanted, not a class."))
    try:
        clone(estimator)
    except (TypeError, RuntimeError, ValueError):
        step = "Its __init__ is to keep what it is given as it is."
        faults.append(Fault(where, "cannot be cloned", got, next_step=step))
    return faults


def _rule_features(data: RiskData, options: ModelOptions) -> pd.DataFrame:
    name = options.rule_column
    if name not in data.features:
        raise ParameterError(
            Fault(f'predictor "{name}"', "is missing", next_step=suggest_name(name, list(data.features)))
        )
    if data.features[name].nunique() < 2:
        raise NotEstimable(Fault(f'predictor "{name}"', "is the same for everybody"))
    return data.features[[name]]


def _horizon(data: RiskData, options: ModelOptions) -> int:
    """Days to the horizon: what those without an event were followed for."""
    target = build_competing_target(data)
    free = target[target[:, 0] == 0, 1]
    if options.horizon_days is None and not len(free):
        raise ParameterError(Fault("horizon_days", "cannot be read from the data: everybody had an event"))
    found = int(free[0]) if len(free) else options.horizon_days
    if options.horizon_days not in (None, found):
        raise ParameterError(Fault("horizon_days", "is not that of event_days", str(options.horizon_days), str(found)))
    return found


def _gate(
    data: RiskData, pipeline: Pipeline, frame: pd.DataFrame, columns: Sequence[RiskColumn], options: ModelOptions
) -> tuple[float, int]:
    """Events per parameter, and parameters; refused where there are too few."""
    prepare = clone(pipeline.named_steps["prepare"])
    parameters = count_parameters(prepare, frame, columns)
    events = min(data.n_events, len(data) - data.n_events)
    ratio = 0.0 if events < _FEWEST_EVENTS else events // _EVENT_STEP * _EVENT_STEP / parameters
    if ratio < options.min_events_per_predictor:
        raise _too_few_events(ratio, needed=options.min_events_per_predictor)
    return ratio, parameters


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
