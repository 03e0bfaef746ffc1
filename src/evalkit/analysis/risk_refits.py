"""A developed model fitted again and again: one way through, by the batched ridge where it is a logistic regression."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.base import clone

from evalkit.analysis.risk_data import asked_model
from evalkit.analysis.risk_develop import Developed
from evalkit.analysis.study import Study
from evalkit.risk.data import RiskData
from evalkit.risk.model import RiskModel, build_design, build_target
from evalkit.risk.model_refit import build_refit
from evalkit.risk.refit import RefittedModels, refit_models, refit_ridge
from evalkit.risk.resample import draw_person_counts


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
        x_new = None if new is None else build_design(model, new.features)
        return refit_ridge(
            build_design(model, data.features), data.outcome, penalty=float(penalty), counts=counts, x_new=x_new
        )
    if model.kind == "competing_risk":
        return _refit_competing(model, data, counts, new)
    again = build_refit(model, data, new=None if new is None else new.features)
    return refit_models(again, counts=counts, n_new=None if new is None else len(new))


def draw_development(study: Study, data: RiskData) -> np.ndarray:
    """The draws of people (B, n) that optimism, instability and imputation share."""
    return draw_person_counts(data.person, replicates=asked_model(study).replicates, rng=study.rng("risk optimism"))


def _refit_competing(model: RiskModel, data: RiskData, counts: np.ndarray, new: RiskData | None) -> RefittedModels:
    x, target = build_design(model, data.features), build_target(model.kind, data)
    asked = x if new is None else build_design(model, new.features)

    def fit(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        fitted = clone(model.pipeline[-1]).fit(x[rows], target[rows])
        return lambda at: fitted.predict_proba(asked[at])[:, 1]

    return refit_models(fit, counts=counts, n_new=None if new is None else len(new))
