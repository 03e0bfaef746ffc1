"""The risk of the outcome by a horizon where death may come first, as a scikit-learn classifier."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy.linalg import qr
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import choice_faults
from evalkit.estimators.survival.cox import CoxFit, CoxOptions, fit_cox
from evalkit.estimators.survival.cox_survival import compute_survival
from evalkit.estimators.survival.fine_gray import FineGrayOptions, compute_cumulative_incidence_at, fit_fine_gray
from evalkit.risk.data import RiskData

CompetingMethod = Literal["fine_gray", "cause_specific"]
_FEWEST_DEATHS = 10
_RANK = 1e-8
_MOST_LINEAR = 300.0
_ROWS = 20_000  # predicted at a time


def build_competing_target(data: RiskData) -> np.ndarray:
    """`event` and `event_days` as one array (n, 2) float, what `CompetingRiskClassifier` is fitted to.

    Raises ParameterError where either is absent, or somebody without an event is not followed as far as others.
    """
    faults = [
        Fault(f"RiskData.{name}", "a model of competing risks needs it", next_step="Give what came first, and when")
        for name in ("event", "event_days") if getattr(data, name) is None
    ]  # fmt: skip
    if faults:
        raise ParameterError(faults)
    free = data.event_days[data.event == 0]
    if len(free) and (np.ptp(free) > 0 or data.event_days.max() > free.max()):
        what = "those without an event are not all followed to one horizon"
        allowed = "the horizon where event is 0, at most the horizon elsewhere"
        raise ParameterError(Fault("RiskData.event_days", what, allowed=allowed))
    return np.column_stack([data.event, data.event_days]).astype(np.float64)


class CompetingRiskClassifier(ClassifierMixin, BaseEstimator):
    """Fine and Gray's model, or Cox models of readmission and of death, read at one horizon.

    `fit(x, y)` takes x (n, p) without missing values and y (n, 2): what came first (0 nothing, 1 the outcome, 2 death)
    and the days to it. `predict_proba(x)` gives (m, 2), the second column the risk of the outcome within
    `horizon_days`. Columns that are constant, or sums of others, are left out of the fit, which changes no risk.

    fine_gray : F1(h | x) = 1 - exp(-L(h) exp(x b)), L the cumulative subdistribution hazard (Fine and Gray 1999,
        JASA 94:496).
    cause_specific : F1(h | x) = sum over days of S(t-) a1(t) / (a1 + a2)(t) (1 - exp(-(a1 + a2)(t))), a_k the Cox
        hazard of cause k for x, S(t-) = exp(-sum of earlier a1 + a2): probabilities that never leave 0 to 1.

    `fit` raises ParameterError for a y of another shape, and NotEstimable where a covariate separates, nobody had the
    outcome or, for cause_specific, there are deaths but too few of them to model.
    """

    def __init__(self, *, horizon_days: float = 90.0, method: CompetingMethod = "fine_gray") -> None:
        self.horizon_days = horizon_days
        self.method = method

    def fit(self, X: np.ndarray, y: np.ndarray) -> CompetingRiskClassifier:  # noqa: N803 - scikit-learn's name
        """Fit to `X` (n, p) and `y` (n, 2)."""
        faults = choice_faults("method", self.method, ("fine_gray", "cause_specific"))
        if np.ndim(y) != 2 or np.shape(y)[1] != 2:
            faults.append(Fault("competing_risk", "y is to hold event and days", f"shape {np.shape(y)}", "(n, 2)"))
        if faults:
            raise ParameterError(faults)
        x = validate_data(self, X, dtype=np.float64)
        self.classes_ = np.array([0, 1])
        self.centre_ = x.mean(axis=0)
        self.kept_ = _independent(x - self.centre_)
        if not len(self.kept_):
            raise NotEstimable(Fault("competing_risk", "no predictor varies"))
        follow_up = _as_follow_up((x - self.centre_)[:, self.kept_], np.asarray(y, dtype=np.float64))
        if self.method == "fine_gray":
            self._fit_subdistribution(follow_up)
        else:
            self._fit_causes(follow_up)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:  # noqa: N803 - scikit-learn's name
        """Risks (m, 2): of no outcome, and of the outcome, within the horizon."""
        check_is_fitted(self)
        x = (validate_data(self, X, dtype=np.float64, reset=False) - self.centre_)[:, self.kept_]
        if self.method == "fine_gray":
            risk = -np.expm1(-_ratio(x @ self.coef_[0]) * self.hazard_[0].sum())
        else:
            starts = range(0, len(x), _ROWS)
            risk = np.concatenate([self._incidence(x[start : start + _ROWS]) for start in starts])
        return np.column_stack([1 - risk, risk])

    def predict(self, X: np.ndarray) -> np.ndarray:  # noqa: N803 - scikit-learn's name
        """Whether the outcome is likelier than not (m,); risks are what the model is for."""
        return (self.predict_proba(X)[:, 1] > 0.5).astype(int)

    def _fit_subdistribution(self, follow_up: FollowUp) -> None:
        fit = fit_fine_gray(follow_up, options=FineGrayOptions(errors="model"))
        moments = fit.times[fit.times <= self.horizon_days + 1]
        risk = compute_cumulative_incidence_at(fit, np.zeros(len(fit.names)), moments)[0]
        self.times_ = moments
        self.hazard_ = np.diff(-np.log1p(-risk), prepend=0.0)[None, :]
        self.coef_ = fit.coefficients[None, :]

    def _fit_causes(self, follow_up: FollowUp) -> None:
        deaths = follow_up.n_events(2)
        if 0 < deaths < _FEWEST_DEATHS:
            step = 'Take method "fine_gray", which needs no model of death'
            raise NotEstimable(Fault("competing_risk", "too few deaths", "fewer than 10", "none, or 10 or more", step))
        moments = np.unique(follow_up.exit[follow_up.event > 0])
        self.times_ = moments[moments <= self.horizon_days + 1]
        width = follow_up.covariates.shape[1]
        self.coef_, self.hazard_ = np.zeros((2, width)), np.zeros((2, len(self.times_)))
        for cause in (1, 2) if deaths else (1,):
            fit = fit_cox(follow_up, options=CoxOptions(cause=cause, errors="model"))
            self.coef_[cause - 1] = fit.coefficients
            self.hazard_[cause - 1] = _baseline_steps(fit, follow_up, self.times_)

    def _incidence(self, x: np.ndarray) -> np.ndarray:
        ratio = _ratio(x @ self.coef_.T)
        first, second = (ratio[:, k, None] * self.hazard_[k] for k in (0, 1))
        both = first + second
        before = np.exp(-(np.cumsum(both, axis=1) - both))
        share = np.divide(first, both, out=np.zeros_like(both), where=both > 0)
        return (before * share * -np.expm1(-both)).sum(axis=1)


def _ratio(linear: np.ndarray) -> np.ndarray:
    """Hazard ratios; beyond the largest here a risk is 1 in any case, and a product with it would overflow."""
    return np.exp(np.minimum(linear, _MOST_LINEAR))


def _independent(x: np.ndarray) -> np.ndarray:
    """Columns (k,) of centred `x` that vary and are no sums of others, in order."""
    size = np.sqrt((x**2).sum(axis=0))
    varies = np.flatnonzero(size > _RANK * np.sqrt(len(x)))
    if not len(varies):
        return varies
    triangle, order = qr((x / np.where(size > 0, size, 1.0))[:, varies], mode="r", pivoting=True)
    diagonal = np.abs(np.diag(triangle))
    return np.sort(varies[order[: int((diagonal > _RANK * diagonal[0]).sum())]])


def _as_follow_up(x: np.ndarray, y: np.ndarray) -> FollowUp:
    # Every discharge is at risk from its own day 0; a day is added so that an event on that day has a length.
    names = tuple(f"x{k}" for k in range(x.shape[1]))
    frame = pd.DataFrame(x, columns=list(names)).assign(event=y[:, 0].astype(np.int64), days=y[:, 1] + 1)
    return FollowUp.from_frame(
        frame, exit="days", event="event", covariates=names, causes=("readmission", "death")
    )  # fmt: skip


def _baseline_steps(fit: CoxFit, follow_up: FollowUp, times: np.ndarray) -> np.ndarray:
    """Steps (T,) at `times` of the cumulative hazard of covariates of 0, the data's mean."""
    curve = compute_survival(fit, follow_up, at=np.zeros(len(fit.names)))[0]
    total = np.concatenate([[0.0], -np.log(curve.survival)])
    return np.diff(total[np.searchsorted(curve.time, times, side="right")], prepend=0.0)
