"""How far trends may have parted before a finding on rates falls."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from evalkit.analysis.designs import described, events_behind, whole_panel
from evalkit.analysis.study import Study
from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.outcomes import RateOutcome
from evalkit.core.result import Cell, Results
from evalkit.estimators.area.group_time import StaggeredOptions
from evalkit.estimators.area.honest import HonestOptions, SensitivityCurve, compute_sensitivity_curve
from evalkit.estimators.area.paths import EventStudy
from evalkit.estimators.area.placebo_time import PlaceboEventStudyOptions, estimate_placebo_event_study
from evalkit.estimators.area.staggered import estimate_staggered_event_study

PERIODS_PER_YEAR = {"quarter": 4, "year": 1}


def describe_honest(study: Study, outcome: RateOutcome) -> list[Results]:
    """Bounds on the effect if trends would have parted; one row that says why where there are none."""
    return [described(study, outcome, "honest", _honest_cells)]


def _honest_cells(study: Study, outcome: RateOutcome) -> list[Cell]:
    """Rambachan and Roth's bounds on the mean log ratio after adoption, as ratios."""
    panel = whole_panel(study, outcome)
    one_start = len(np.unique(panel.adoption[panel.treated])) == 1
    path = (_placebo_path if one_start else _staggered_path)(study, outcome, panel)
    behind, cells = events_behind(panel), []
    for restriction, m in (("relative_magnitude", study.protocol.robustness.relative_magnitudes), ("smoothness", None)):
        curve = compute_sensitivity_curve(path, options=HonestOptions(restriction=restriction, m=m, level=study.level))
        cells += _curve_cells(curve, behind)
    return cells


def _placebo_path(study: Study, outcome: RateOutcome, panel: Panel) -> EventStudy:
    """Yearly log ratios, their errors had from the untreated areas."""
    options = PlaceboEventStudyOptions(
        level=study.level,
        periods_per_step=PERIODS_PER_YEAR[study.protocol.dates.period],
        noise="size" if outcome.event == "ward_days" else "poisson",
    )
    return estimate_placebo_event_study(panel, study.protocol.estimand(outcome), options=options)


def _staggered_path(study: Study, outcome: RateOutcome, panel: Panel) -> EventStudy:
    """Callaway and Sant'Anna's effects on log rates by time from each area's own adoption."""
    logs = replace(
        panel, outcome=np.log((panel.outcome + 0.5) / panel.denominator), denominator=np.ones_like(panel.outcome)
    )
    difference = replace(study.protocol.estimand(outcome), scale="mean_difference")
    return _known_steps(estimate_staggered_event_study(logs, difference, options=StaggeredOptions(level=study.level)))


def _known_steps(path: EventStudy) -> EventStudy:
    """The unbroken run of steps around the reference whose errors are known; those of too few areas are not."""
    known = set(path.steps[np.isfinite(np.diag(path.covariance))].tolist())
    first, last = path.reference, path.reference
    while first - 1 in known:
        first -= 1
    while last + 1 in known:
        last += 1
    kept = (path.steps >= first) & (path.steps <= last)
    if not kept.any():
        raise NotEstimable(Fault("event study", "no effect next to adoption has a known error"))
    names = ("steps", "value", "se", "lower", "upper")
    return replace(
        path, covariance=path.covariance[np.ix_(kept, kept)], **{name: getattr(path, name)[kept] for name in names}
    )


def _curve_cells(curve: SensitivityCurve, behind: float) -> list[Cell]:
    """Bounds as ratios at each M (every second one of the many of smoothness), and where they first hold 1."""
    step = 2 if curve.restriction == "smoothness" else 1
    bounds = zip(curve.m[::step], curve.lower[::step], curve.upper[::step], strict=True)
    rows = [("original", curve.value, *curve.original)]
    rows += [(f"{size:.2g}", math.nan, low, high) for size, low, high in bounds]
    cells = [
        Cell(
            row,
            curve.restriction,
            math.exp(value),
            "statistic",
            unit="ratio",
            lower=math.exp(low),
            upper=math.exp(high),
            level=curve.level,
            n_events=behind,
            label=f"M = {row}" if row != "original" else "Parallel trends",
        )
        for row, value, low, high in rows
    ]
    # NaN says that the set holds no effect even where trends are parallel.
    breakdown = 0.0 if math.isnan(curve.breakdown) else curve.breakdown
    return [*cells, Cell("breakdown", curve.restriction, breakdown, "statistic", unit="M", n_events=behind)]
