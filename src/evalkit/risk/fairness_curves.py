"""Calibration within groups: a smooth curve for each level, with a band from the draws of people that all share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from evalkit.core.faults import level_faults, refuse
from evalkit.risk.calibration import fit_calibration_curve, place_grid, predict_calibration
from evalkit.risk.fairness import GroupLevel, GroupSample, compute_draw_errors

# Points are on a fixed grid, and from the 10th to the 90th percentile: their places then tell no person's risk.
_ENDS = (0.1, 0.9)
_MOST_POINTS = 25


@dataclass(frozen=True, eq=False)
class GroupCurve:
    """Smoothed share readmitted `smooth` (g,) at risks `predicted` (g,) in one level, with a pointwise band.

    Empty where the level is refused or has no curve; `reason` then says why.
    """

    group: GroupLevel
    predicted: np.ndarray
    smooth: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    level: float
    reason: str


def fit_group_curves(sample: GroupSample, *, level: float = 0.95) -> tuple[GroupCurve, ...]:
    r"""The spline of `fit_calibration_curve` within each level; bands are normal on the log-odds of the curve, from
    the standard deviation of its draws, times \(\sqrt{G / (G - 1)}\) for G people.

    Fails with `ParameterError` for a level outside 0 to 1.
    """
    refuse(level_faults(level))
    return tuple(_fit_curve(sample, group, level) for group in sample.levels)


def _fit_curve(sample: GroupSample, group: GroupLevel, level: float) -> GroupCurve:
    none = np.zeros(0)
    if group.refusal:
        return GroupCurve(group, none, none, none, none, level, group.refusal)
    risk, outcome = sample.risk[group.rows], sample.outcome[group.rows]
    weights = np.ones((1 + len(sample.counts), len(risk)), dtype=sample.counts.dtype)
    weights[1:] = sample.counts[:, group.rows]
    at = _place_points(risk)
    found = predict_calibration(fit_calibration_curve(risk, outcome, counts=weights), at) if len(at) else none
    if not len(at) or not np.isfinite(found[0]).all():
        reason = f'No curve can be drawn through the risks of {group.characteristic} "{group.name}".'
        return GroupCurve(group, none, none, none, none, level, reason)
    odds = logit(np.clip(found, 1e-12, 1 - 1e-12))
    people = np.full((1, len(at)), group.n_people)
    reach = float(norm.ppf(0.5 + level / 2)) * compute_draw_errors(odds[1:, None, :], people)[0]
    return GroupCurve(group, at, found[0], expit(odds[0] - reach), expit(odds[0] + reach), level, "")


def _place_points(risk: np.ndarray) -> np.ndarray:
    """A grid over the middle of the risks."""
    return place_grid(*np.quantile(risk, _ENDS), _MOST_POINTS)
