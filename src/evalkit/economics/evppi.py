"""What it would be worth to know some parameters for certain before deciding (EVPPI), by regression on the draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, NotEstimable, suggest_name
from evalkit.core.faults import choice_faults, refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.economics.draws import Psa
from evalkit.economics.evppi_regression import (
    Design,
    SmoothFit,
    build_gaussian_process_design,
    build_spline_design,
    fit_smooth,
)
from evalkit.economics.faults import number_faults
from evalkit.economics.net_benefit import compute_net_benefit

MIN_DRAWS = 100
SPLINE_PARAMETERS = 5  # up to this many, "auto" takes splines with all pairs of them
_LENGTHS = (0.5, 1.0, 2.0)  # of the Gaussian process, tried by generalised cross-validation
_BLOCK = 2_000_000  # fitted values held at a time while errors are drawn


@dataclass(frozen=True)
class EvppiOptions:
    """How net benefit is regressed on parameters.

    Attributes
    ----------
    method : `splines`, additive with products of all pairs; `gaussian_process`, additive with a Gaussian process
        for what is left; `auto` takes splines for up to 5 parameters
    knots : of each cubic spline, at quantiles of the parameter
    landmarks : draws that the Gaussian process is spanned by
    error_draws : draws of the regression's coefficients behind `se_gbp` and `bias_gbp`
    """

    method: Literal["auto", "splines", "gaussian_process"] = "auto"
    knots: int = 10
    landmarks: int = 150
    error_draws: int = 200


@dataclass(frozen=True)
class Evppi:
    """Expected value of perfect information on `parameters`, per decision as costs are (a person, a person-quarter).

    Attributes
    ----------
    value_gbp : the estimate, 0 or more; not cut off at `evpi_gbp`, which a check compares it with
    se_gbp, bias_gbp : standard error, and upward bias, from the uncertainty of the regression; `value_gbp` has not
        been corrected. Parameters that are noise still come out a little above 0 where the decision is a toss-up:
        measured, of an EVPI of 0.40, 0.008 for one and 0.034 for ten at 1,000 draws, 0.003 and 0.016 at 5,000
    sampling_se_gbp : standard error from there being no more draws, with the regression taken as known; it and
        `se_gbp` overlap in the error of the mean
    evpi_gbp, share_of_evpi : of all uncertainty; the share is NaN where nothing is to be gained at all
    degrees : of freedom of the regressions, the largest over strategies
    """

    parameters: tuple[str, ...]
    threshold_gbp: float
    value_gbp: float
    se_gbp: float
    bias_gbp: float
    sampling_se_gbp: float
    evpi_gbp: float
    share_of_evpi: float
    degrees: float
    checks: tuple[Check, ...] = ()


def compute_evppi(
    psa: Psa,
    parameters: Sequence[str],
    threshold_gbp: float,
    *,
    rng: np.random.Generator,
    options: EvppiOptions = EvppiOptions(),
) -> Evppi:
    """EVPPI of a group of parameters: mean over draws of the largest fitted net benefit, less the largest mean.

    Net benefit of each strategy, less that of the one best on average, is regressed on the parameters; the fitted
    value is its expectation once they are known. Errors are had by drawing the coefficients anew from their normal
    posterior, correlated over strategies as residuals are: the spread of the EVPPI so drawn, and how far its mean
    is above. Parameters that do not vary are left out, which a check says; with none left the value is 0.

    Raises
    ------
    ParameterError
        No parameters in `psa`, unknown or repeated names, an unknown method, a threshold below 0, no `rng`.
    NotEstimable
        Fewer than 100 draws; a regression that does not converge.

    References
    ----------
    Strong, Oakley and Brennan 2014, Med Decis Making 34:311.
    """
    names = tuple(parameters)
    refuse(_faults(psa, names, threshold_gbp, rng, options))
    if psa.n_draws < MIN_DRAWS:
        raise NotEstimable(Fault("draws", "too few to regress on", str(psa.n_draws), f"{MIN_DRAWS} or more"))
    benefit = compute_net_benefit(psa, threshold_gbp)
    best = int(benefit.mean(axis=0).argmax())
    evpi = float((benefit.max(axis=1) - benefit[:, best]).mean())
    responses = np.delete(benefit - benefit[:, [best]], best, axis=1)
    raw = psa.parameters[list(names)].to_numpy()
    spread = raw.std(axis=0)
    varies = spread > 1e-12 * np.abs(raw).max(axis=0)
    still = int((~varies).sum())
    checks = [Check("parameters_vary", still == 0, still, f"{still} of {len(names)} parameters do not vary")]
    if not varies.any():
        share = 0.0 if evpi > 0 else float("nan")
        return Evppi(names, float(threshold_gbp), 0.0, 0.0, 0.0, 0.0, evpi, share, 0.0, tuple(checks))
    x = (raw[:, varies] - raw[:, varies].mean(axis=0)) / spread[varies]
    design, fits = _fit(x, responses, options)
    if not all(fit.converged for fit in fits):
        step = "Take fewer parameters, or more draws."
        raise NotEstimable(Fault("EVPPI", "the regression on the parameters does not converge", next_step=step))
    gain = np.maximum(np.column_stack([fit.fitted for fit in fits]).max(axis=1), 0.0)
    value = float(gain.mean())
    drawn = _draw_evppi(design, fits, options.error_draws, rng)
    se, bias = float(drawn.std(ddof=1)), float(drawn.mean() - value)
    over = value - evpi
    text = f"GBP {value:.4g} against GBP {evpi:.4g} for all uncertainty"
    checks.append(Check("within_evpi", over <= 2 * se + 1e-9 * evpi, over, text))
    return Evppi(
        names, float(threshold_gbp), value, se, bias, float(gain.std(ddof=1) / np.sqrt(psa.n_draws)), evpi,
        value / evpi if evpi > 0 else float("nan"), max(fit.degrees for fit in fits), tuple(checks),
    )  # fmt: skip


def compute_evppi_table(
    psa: Psa,
    groups: Mapping[str, Sequence[str]],
    thresholds_gbp: Sequence[float],
    *,
    rng: np.random.Generator,
    options: EvppiOptions = EvppiOptions(),
) -> pd.DataFrame:
    """EVPPI of each group of parameters at each threshold, one row each, with a column a field of `Evppi`.

    Columns: group, threshold_gbp, evppi_gbp, se_gbp, bias_gbp, sampling_se_gbp, evpi_gbp, share_of_evpi, degrees,
    failed_checks. Raises as `compute_evppi`, for the first group at fault.
    """
    rows = []
    for group, names in groups.items():
        for threshold in thresholds_gbp:
            one = compute_evppi(psa, names, threshold, rng=rng, options=options)
            failed = "; ".join(check.text for check in one.checks if check.passed is False)
            rows.append(
                (group, one.threshold_gbp, one.value_gbp, one.se_gbp, one.bias_gbp, one.sampling_se_gbp, one.evpi_gbp,
                 one.share_of_evpi, one.degrees, failed)
            )  # fmt: skip
    columns = ["group", "threshold_gbp", "evppi_gbp", "se_gbp", "bias_gbp", "sampling_se_gbp", "evpi_gbp",
               "share_of_evpi", "degrees", "failed_checks"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _fit(x: np.ndarray, responses: np.ndarray, options: EvppiOptions) -> tuple[Design, list[SmoothFit]]:
    splines = options.method == "splines" or (options.method == "auto" and x.shape[1] <= SPLINE_PARAMETERS)
    if splines:
        design = build_spline_design(x, knots=options.knots, interactions=x.shape[1])
        return design, [fit_smooth(design, response) for response in responses.T]
    size = np.maximum(responses.var(axis=0), np.finfo(float).tiny)
    tried = []
    for length in _LENGTHS:
        design = build_gaussian_process_design(x, knots=options.knots, landmarks=options.landmarks, length=length)
        fits = [fit_smooth(design, response) for response in responses.T]
        tried.append((sum(fit.gcv / one for fit, one in zip(fits, size, strict=True)), design, fits))
    _, design, fits = min(tried, key=lambda one: one[0])
    return design, fits


def _draw_evppi(design: Design, fits: list[SmoothFit], draws: int, rng: np.random.Generator) -> np.ndarray:
    """EVPPI of regressions drawn from their posterior, shape (draws,)."""
    s, q = design.columns.shape
    residuals = np.column_stack([fit.residuals for fit in fits])
    scale = residuals.std(axis=0)
    standard = residuals / np.where(scale > 0, scale, 1.0)
    value, vector = np.linalg.eigh(standard.T @ standard / s)
    mix = vector * np.sqrt(np.maximum(value, 0.0)) @ vector.T
    step = max(1, _BLOCK // (s * (len(fits) + 1)))
    found = np.empty(draws)
    for first in range(0, draws, step):
        size = min(step, draws - first)
        z = rng.standard_normal((size, q + 1, len(fits))) @ mix
        largest, means = np.zeros((s, size)), np.zeros((len(fits) + 1, size))
        for d, fit in enumerate(fits):
            shift = fit.intercept_se * z[:, q, d]
            moved = design.columns[:, fit.used] @ (fit.root @ z[:, fit.used, d].T)
            moved += fit.fitted[:, None] + shift
            np.maximum(largest, moved, out=largest)
            means[d + 1] = moved.mean(axis=0)
        found[first : first + size] = largest.mean(axis=0) - means.max(axis=0)
    return found


def _faults(psa: Psa, names: tuple[str, ...], threshold: object, rng: object, options: EvppiOptions) -> list[Fault]:
    known = [] if psa.parameters is None else list(psa.parameters.columns)
    faults = [] if known else [Fault("psa", "it holds no draws of parameters", next_step="Give parameters=.")]
    if not names:
        faults.append(Fault("parameters", "none is named"))
    for name in dict.fromkeys(names):
        if known and name not in known:
            hint = suggest_name(str(name), known)
            faults.append(Fault("parameters", f'there is no "{name}"', next_step=hint))
        if names.count(name) > 1:
            faults.append(Fault("parameters", f'"{name}" is named twice'))
    faults += number_faults("threshold_gbp", threshold, least=0) + rng_faults(rng)
    faults += choice_faults("method", options.method, ("auto", "splines", "gaussian_process"))
    faults += whole_faults("knots", options.knots, least=4) + whole_faults("landmarks", options.landmarks, least=10)
    return faults + whole_faults("error_draws", options.error_draws, least=20)
