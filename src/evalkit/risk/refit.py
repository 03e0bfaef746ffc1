"""Models refitted to many weightings of the development discharges, and the risks that they give.

Bootstrap optimism, cross-validation, internal-external validation, the learning curve and instability all ask the
same: the risks of B models, each fitted to its own weighting. `refit_ridge` fits all B of a ridge logistic regression
at once; `refit_models` takes any way of fitting, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import is_whole, refuse
from evalkit.risk.arrays import count_faults
from evalkit.risk.ridge import fit_ridge_draws, predict_ridge

Rows = np.ndarray | slice
Predict = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray], Predict]
BLOCK = 4_000_000  # risks held at a time


@dataclass(frozen=True, eq=False, repr=False)
class RefittedModels:
    """Risks, for `n_rows` discharges, of a model fitted to everybody and of B models fitted to weightings of them.

    `original` (n_rows,) are those of everybody's model. `predict(models, rows)` gives (b, m) for a slice of the B
    models and slice or positions of rows, NaN of a model with a reason in `reasons` (B; "" where it was fitted).
    `counts` (B, n) are the weightings of the n development discharges; the rows may be others.
    """

    original: np.ndarray
    counts: np.ndarray
    reasons: tuple[str, ...]
    predict: Callable[[slice, Rows], np.ndarray]

    @property
    def n_rows(self) -> int:
        return len(self.original)

    def __len__(self) -> int:
        return len(self.counts)

    def __repr__(self) -> str:
        return f"RefittedModels({len(self)} models)"

    def blocks(self) -> list[slice]:
        """Slices of the models whose risks for all rows can be held at a time."""
        size = max(1, BLOCK // self.n_rows)
        return [slice(at, min(at + size, len(self))) for at in range(0, len(self), size)]


def refit_ridge(
    x: np.ndarray,
    y: np.ndarray,
    *,
    penalty: float | np.ndarray,
    counts: np.ndarray,
    base: np.ndarray | None = None,
    x_new: np.ndarray | None = None,
) -> RefittedModels:
    """Ridge logistic regressions of y (n,) on x (n, p), all of `counts` (B, n) in one batched fit.

    `x` is standardised anew in each weighting; whatever else was learnt from the data to make x (medians, levels) is
    not learnt again. `penalty` is that of `fit_ridge`, one for all or (B,), in which case everybody's model takes the
    median: chosen once and kept, the choice adds no optimism, which is right in large samples only. Risks are for the
    rows of x, or of `x_new` (m, p). Everybody is each row once, or as often as `base` (n,) says.

    Fails as `fit_ridge_draws`, and with `NotEstimable` where everybody's model has no fit.
    """
    x_new = x if x_new is None else np.asarray(x_new, dtype=np.float64)
    if x_new.ndim != 2 or x_new.shape[1] != np.shape(x)[1] or not np.isfinite(x_new).all():
        got = f"shape {x_new.shape}" if np.isfinite(x_new).all() else "values that are missing or infinite"
        raise ParameterError(Fault("refit_ridge x_new", "must be finite, with the columns of x", got))
    whole = fit_ridge_draws(x, y, penalty=float(np.median(penalty)), counts=None if base is None else base[None])
    if whole.reasons[0]:
        raise NotEstimable(Fault("the model fitted to everybody", whole.reasons[0]))
    drawn = fit_ridge_draws(x, y, penalty=penalty, counts=counts)

    def predict(models: slice, rows: Rows) -> np.ndarray:
        return predict_ridge(x_new[rows], drawn.coefficients[models])

    return RefittedModels(predict_ridge(x_new, whole.coefficients)[0], np.asarray(counts), drawn.reasons, predict)


def refit_models(
    fit: Fit, *, counts: np.ndarray, base: np.ndarray | None = None, n_new: int | None = None
) -> RefittedModels:
    """Any models: `fit(rows)` develops one on the discharges at positions `rows` (m,), repeats included.

    It is to repeat all that was learnt from the data, tuning included, and to return `predict(rows)`, which gives
    risks (k,) at positions of the development discharges, or of the `n_new` on which models are to be evaluated. A fit
    that raises `NotEstimable` leaves NaN and its reason; everybody's (each row once, or as often as `base` (n,) says)
    may not. The B models stay in memory.

    Fails with `ParameterError` where counts are no whole numbers, or a model gives anything but risks.
    """
    counts = np.asarray(counts)
    base = np.ones(counts.shape[-1:]) if base is None else np.asarray(base)
    faults = [*count_faults(counts, len(base)), *count_faults(base[None], len(base))]
    if not faults and not all(np.array_equal(one, one.astype(np.int64)) for one in (counts, base)):
        faults = [Fault("refit_models counts", "are no whole numbers: rows cannot be repeated so often")]
    if n_new is not None and not (is_whole(n_new) and n_new > 0):
        faults.append(Fault("refit_models n_new", "must be a whole number, 1 or more", str(n_new)))
    refuse(faults)
    n = counts.shape[1]
    everyone, made, reasons = np.arange(n if n_new is None else n_new), [], []
    whole = fit(_repeated(base))
    for row in counts:
        try:
            made.append(fit(_repeated(row)))
            reasons.append("")
        except NotEstimable as refusal:
            made.append(None)
            reasons.append(refusal.reason)

    def predict(models: slice, rows: Rows) -> np.ndarray:
        at = everyone[rows]
        return np.stack([np.full(len(at), np.nan) if one is None else _risks(one, at) for one in made[models]])

    return RefittedModels(_risks(whole, everyone), counts, tuple(reasons), predict)


def _repeated(counts: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts.astype(np.int64))


def _risks(predict: Predict, rows: np.ndarray) -> np.ndarray:
    risk = np.asarray(predict(rows), dtype=np.float64)
    if risk.shape != (len(rows),) or not np.all((risk >= 0) & (risk <= 1)):
        got = f"shape {risk.shape}" if risk.shape != (len(rows),) else "values missing, below 0 or above 1"
        raise ParameterError(Fault("a refitted model's risks", "must be one probability a discharge", got))
    return risk
