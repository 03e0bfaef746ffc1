"""Event rates by area: effects, sensitivity, time path, placebos and trends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from evalkit.analysis.blocks import rate_cells, shown_blocks
from evalkit.analysis.study import Study, attempt
from evalkit.cohort.area_counts import build_panel, has_events
from evalkit.cohort.mirror import count_before_after, derive_mirror_counts
from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.outcomes import NAIVE, RateOutcome
from evalkit.core.result import Cell, Estimate, Results, Role
from evalkit.estimators.area.rates import RateOptions, estimate_event_study, estimate_placebos, estimate_rate_ratio_did
from evalkit.estimators.people.naive import estimate_rate_before_after

DONORS = "Other areas"
_NEAR_LABEL = "The same with the nearest areas only"
_BASELINE_LABELS = {
    "whole": "The same with the baseline from the study's start",
    "recent": "The same with the recent baseline only",
}


def estimate_rates(study: Study, outcome: RateOutcome) -> list[Estimate]:
    """Primary, sensitivity and naive estimates of one outcome; each stands with a reason if refused."""
    estimand, dates = study.protocol.estimand(outcome), study.protocol.dates
    baselines = {"whole": dates.study_start, "recent": dates.baseline_start}
    other = "recent" if outcome.baseline == "whole" else "whole"

    def did(baseline: str, role: Role, areas: tuple[str, ...]) -> Estimate:
        if study.protocol.exposure.by != "area":
            raise NotEstimable(Fault("protocol", "rates are compared by area, but exposure is by programme"))
        panel = build_panel(study.tables, study.protocol, outcome)
        panel = panel.only(tuple(a for a in areas if a in panel.units))  # areas without every period are not in it
        cut = panel.between(baselines[baseline], dates.end)
        return estimate_rate_ratio_did(
            cut, estimand, options=rate_options(study), rng=study.rng(outcome.key), role=role
        )

    def other_baseline() -> Estimate:
        found = did(other, "sensitivity", study.protocol.areas.all)
        return replace(found, estimator=f"poisson_did_{other}_baseline", label=_BASELINE_LABELS[other])

    def near_only() -> Estimate:
        found = did(outcome.baseline, "sensitivity", study.protocol.areas.with_people)
        return replace(found, estimator="poisson_did_near_areas", label=_NEAR_LABEL)

    ways: dict[str, tuple[Callable[[], Estimate], str]] = {
        f"poisson_did_{other}_baseline": (other_baseline, _BASELINE_LABELS[other]),
        "poisson_did_near_areas": (near_only, _NEAR_LABEL),
    }
    return [
        attempt(
            study,
            outcome,
            outcome.estimator,
            outcome.role,
            lambda: did(outcome.baseline, outcome.role, study.protocol.areas.all),
        ),
        *(
            attempt(study, outcome, name, "sensitivity", ways[name][0], label=ways[name][1])
            for name in outcome.sensitivity
            if name in ways
        ),
        attempt(study, outcome, NAIVE, "naive", lambda: _naive(study, outcome)),
    ]


def _naive(study: Study, outcome: RateOutcome) -> Estimate:
    """The same people before and after where people are known, else the treated area before and after."""
    estimand = study.protocol.estimand(outcome)
    people = study.tables.has("people") and study.protocol.dates.adoption is not None
    if people and has_events(study.tables, outcome):
        before, after = derive_mirror_counts(study.tables, study.protocol, outcome)
    else:
        panel = build_panel(study.tables, study.protocol, outcome)
        before, after = count_before_after(panel)
    return estimate_rate_before_after(
        before, after, estimand, level=study.level, interval="none" if outcome.event == "ward_days" else "poisson"
    )


def rate_options(study: Study) -> RateOptions:
    """Options of the primary analysis of rates, as the protocol has them."""
    dates = study.protocol.dates
    ahead = np.datetime64(dates.anticipation_start) if dates.adoption and dates.anticipation_days else None
    return RateOptions(level=study.level, permutations=study.protocol.inference.permutations, anticipation_start=ahead)


def describe_rates(study: Study, outcome: RateOutcome) -> list[Results]:
    """Trend, event study and placebos of one outcome; nothing where there is no panel."""
    try:
        panel = build_panel(study.tables, study.protocol, outcome)
    except NotEstimable:
        return []  # estimate_rates says why
    found = [Results.from_cells(f"trend.{outcome.key}", _trend_cells(study, outcome, panel), outcome=outcome.key)]
    options, dates = rate_options(study), study.protocol.dates
    per_year = {"quarter": 4, "year": 1}[dates.period]
    try:
        path = estimate_event_study(panel, options=options, periods_per_step=per_year)
        start = dates.study_start if outcome.baseline == "whole" else dates.baseline_start
        placebos = estimate_placebos(panel.between(start, dates.end), options=options, rng=study.rng(outcome.key))
    except NotEstimable:
        return found  # both are defined for one treated area only
    steps = [
        Cell(
            str(s.step),
            "effect",
            s.ratio,
            "statistic",
            unit="ratio",
            lower=s.lower,
            upper=s.upper,
            level=1 - 1 / len(panel.units),
            n_events=s.n_events,
            label=_step_label(s.step),
        )
        for s in path.itertuples()
    ]
    # The log ratio itself stays out: beside the studentised one it would give both counts behind it.
    behind = _events_by_unit(panel.between(start, dates.end))
    spread = [
        Cell(
            p.unit,
            "studentised",
            p.studentised,
            "statistic",
            unit="standard errors",
            n_events=behind[p.unit],
            label=p.unit,
        )
        for p in placebos.itertuples()
    ]
    return [
        *found,
        Results.from_cells(f"event_study.{outcome.key}", steps, outcome=outcome.key),
        Results.from_cells(f"placebo.{outcome.key}", spread, outcome=outcome.key),
    ]


def _events_by_unit(panel: Panel) -> dict[str, float]:
    """Each unit's events before or after the treated area's adoption, whichever are fewer."""
    after = panel.periods >= panel.adoption[panel.treated].min()
    fewest = np.minimum(panel.outcome[:, after].sum(axis=1), panel.outcome[:, ~after].sum(axis=1))
    return dict(zip(panel.units, fewest.tolist(), strict=True))


def _step_label(step: int) -> str:
    if step < 0:
        return f"{-step} year{'s' if step < -1 else ''} before"
    return f"Year {step + 1} after"


def _trend_cells(study: Study, outcome: RateOutcome, panel: Panel) -> list[Cell]:
    """Rates of treated and other areas, in the finest periods whose treated counts can be shown."""
    groups = {study.protocol.areas.treated_label: panel.treated, DONORS: ~panel.treated}
    cells = []
    for label, inside in shown_blocks(study, panel):
        for name, rows in groups.items():
            count = float(panel.outcome[rows][:, inside].sum())
            years = float(panel.denominator[rows][:, inside].sum())
            cells += rate_cells(outcome, label, name, count=count, person_years=years)
    return cells
