"""The same model developed again on other weightings of discharges, as bootstraps and cross-validation ask."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, ParameterError
from evalkit.risk.data import RiskData
from evalkit.risk.model import RiskModel, build_target, fit_pipeline, read_probabilities
from evalkit.risk.prepare import build_frame
from evalkit.risk.refit import Fit, Predict


def build_refit(model: RiskModel, data: RiskData, *, new: pd.DataFrame | None = None) -> Fit:
    """`fit(rows)` for `refit_models`: the model's whole pipeline learnt anew from the discharges at positions `rows`.

    Levels, medians, scales and coefficients are learnt again; columns, kind, seed and a penalty once chosen stay.
    `predict(rows)` gives risks (k,) at positions of the discharges of `data`, or of `new` (m, the model's columns).

    `fit` fails with `NotEstimable` where the rows cannot be fitted. Fails with `ParameterError` where `data` or `new`
    does not hold the model's columns.
    """
    for name, held in (("data", data.features), ("new", data.features if new is None else new)):
        gone = [c.name for c in model.columns if c.name not in held]
        if gone:
            raise ParameterError([Fault(f"build_refit {name}", f'has no predictor "{column}"') for column in gone])
    frame, target = build_frame(data.features, model.columns), build_target(model.kind, data)
    asked = frame if new is None else build_frame(new, model.columns).reset_index(drop=True)

    def fit(rows: np.ndarray) -> Predict:
        pipeline = fit_pipeline(model, frame.iloc[rows], target[rows])

        def predict(at: np.ndarray) -> np.ndarray:
            return read_probabilities(pipeline, asked.iloc[at])

        return predict

    return fit
