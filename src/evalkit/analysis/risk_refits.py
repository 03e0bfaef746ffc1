"""A developed model fitted again and again: one way through, by the batched ridge where it is a logistic regression."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.base import clone

from evalkit.analysis.risk_develop import Developed
from evalkit.risk.data import RiskData
from evalkit.risk.model import RiskModel, build_target
from evalkit.risk.model_refit import build_refit
from evalkit.risk.prepare import build_frame
from evalkit.risk.refit import RefittedModels, refit_models, refit_ridge


def refit_developed(
    found: Developed, data: RiskData, *, counts: np.ndarray, new: RiskData | None = None
) -> RefittedModels:
    """`found.model` fitted to each of the weightings `counts` (B, n) of `data`, with risks for `new`, else `data`.

    Logistic regressions go through one batched fit of the prepared columns, which standardises anew in each weighting
    and keeps medians and levels, as the competing-risk model does; others are developed from the start, their
    preparation too.
    """
    model = found.model
    if model.kind in ("logistic", "prior_admissions"):
        penalty = model.options.penalty if model.kind == "logistic" else 0.0
        x_new = None if new is None else _design(model, new)
        return refit_ridge(_design(model, data), data.outcome, penalty=float(penalty), counts=counts, x_new=x_new)
    if model.kind == "competing_risk":
        return _refit_competing(model, data, counts, new)
    again = build_refit(model, data, new=None if new is None else new.features)
    return refit_models(again, counts=counts, n_new=None if new is None else len(new))


def _refit_competing(model: RiskModel, data: RiskData, counts: np.ndarray, new: RiskData | None) -> RefittedModels:
    prepared = model.pipeline[:-1]
    x, target = prepared.transform(build_frame(data.features, model.columns)), build_target(model.kind, data)
    asked = x if new is None else prepared.transform(build_frame(new.features, model.columns))

    def fit(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        fitted = clone(model.pipeline[-1]).fit(x[rows], target[rows])
        return lambda at: fitted.predict_proba(asked[at])[:, 1]

    return refit_models(fit, counts=counts, n_new=None if new is None else len(new))


def _design(model: RiskModel, data: RiskData) -> np.ndarray:
    prepare = model.pipeline.named_steps["prepare"]
    return np.asarray(prepare.transform(build_frame(data.features, model.columns)), dtype=np.float64)
