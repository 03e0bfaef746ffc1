"""Readmission: counts, curves, and the effect at each horizon."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from evalkit.analysis.cell_balance import build_balance_cells
from evalkit.analysis.study import Study, attempt
from evalkit.cohort.discharges import build_discharges, derive_first_return, derive_readmission_cells
from evalkit.cohort.features import PERSON_FEATURES
from evalkit.cohort.recurrence import derive_recurrence
from evalkit.core.errors import NotEstimable
from evalkit.core.outcomes import NAIVE, ReadmissionOutcome
from evalkit.core.result import Cell, Estimate, Results, not_estimable
from evalkit.estimators.people.naive import estimate_risk_before_after, estimate_unweighted_risk_did
from evalkit.estimators.people.overlap import estimate_overlap_aipw_did, fit_overlap_weights
from evalkit.estimators.survival.at_risk import build_at_risk_table
from evalkit.estimators.survival.cumulative_incidence import IncidenceOptions, compute_cumulative_incidence
from evalkit.estimators.survival.curves import compute_risk_at

# Earlier admissions are left out: after go-live they are the service's own doing (decision 4).
COVARIATES = PERSON_FEATURES
CURVE_DAYS = np.array([0, 7, 14, 30, 60, 90, 120, 150, 180, 240, 300, 365])


def estimate_readmission(study: Study, outcome: ReadmissionOutcome) -> list[Estimate]:
    """Primary, sensitivity and naive estimates of one horizon; each stands with a reason if refused."""
    estimand, level, days = study.protocol.estimand(outcome), study.level, outcome.horizon_days

    try:
        discharges = build_discharges(study.tables, study.protocol, index_ward_types=outcome.index_ward_types)
        rows = derive_readmission_cells(discharges, study.protocol, outcome)
    except NotEstimable as refusal:
        return [not_estimable(estimand, outcome.estimator, role=outcome.role, reason=refusal.reason)]
    found = [
        attempt(
            study,
            outcome,
            outcome.estimator,
            outcome.role,
            lambda: estimate_overlap_aipw_did(
                rows, estimand, covariates=COVARIATES, horizon_days=days, level=level, role=outcome.role
            ),
        )
    ]
    if "unweighted_did" in outcome.sensitivity:
        unweighted = partial(estimate_unweighted_risk_did, rows, estimand, horizon_days=days, level=level)
        found.append(attempt(study, outcome, "unweighted_did", "sensitivity", unweighted))
    naive = partial(estimate_risk_before_after, rows, estimand, horizon_days=days, level=level)
    return [*found, attempt(study, outcome, NAIVE, "naive", naive)]


def describe_readmission(study: Study) -> list[Results]:
    """Counts, curves and balance of the longest horizon's cells; nothing where there are no cells."""
    outcomes = study.protocol.outcomes_of("readmission")
    if not outcomes:
        return []
    longest = max(outcomes, key=lambda o: o.horizon_days)
    try:
        discharges = build_discharges(study.tables, study.protocol, index_ward_types=longest.index_ward_types)
        rows = derive_readmission_cells(discharges, study.protocol, longest)
    except NotEstimable:
        return []  # estimate_readmission says why
    cell = np.where(rows["treated"], 0, 2) + (rows["period"] == "before").to_numpy(dtype=int)
    found = [
        Results.from_cells("readmission_counts", _count_cells(rows, sorted({o.horizon_days for o in outcomes}))),
        Results.from_cells("readmission_curve", _curve_cells(rows, longest.horizon_days, study.level)),
    ]
    if len(np.unique(cell)) == 4:
        fit = fit_overlap_weights(rows[list(COVARIATES)], cell)
        found.append(Results.from_cells("balance", build_balance_cells(fit.balance, rows[list(COVARIATES)], cell)))
        found.append(Results.from_cells("at_risk", _at_risk_cells(rows, fit.weights, longest.horizon_days)))
    return found


def _at_risk_cells(rows: pd.DataFrame, weights: np.ndarray, horizon_days: int) -> list[Cell]:
    """Discharges still followed and not yet back, by cell and day: as they are, weighted, and as effective sample."""
    names = rows["group"].astype(str) + ", " + rows["period"]
    # Weights are known up to a factor: in each cell they sum to its discharges.
    scaled = weights / pd.Series(weights).groupby(names.to_numpy()).transform("mean").to_numpy()
    follow_up = derive_first_return(rows, stratum=names).with_weights(scaled)
    days = [day for day in (0, 30, 90, 180, 365) if day < horizon_days]
    table = build_at_risk_table(follow_up, days)
    return [
        Cell(f"{line.stratum}|{line.time:.0f}", column, float(getattr(line, column)), "statistic",
             label=f"{line.stratum}: day {line.time:.0f}")
        for line in table.itertuples()
        for column in ("at_risk", "at_risk_weighted", "at_risk_effective")
    ]  # fmt: skip


def _named_cells(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(f"{group}|{period}", inside) for (group, period), inside in rows.groupby(["group", "period"], sort=True)]


def _count_cells(rows: pd.DataFrame, horizons: list[int]) -> list[Cell]:
    cells = []
    for name, inside in _named_cells(rows):
        cells.append(Cell(name, "discharges", len(inside), "count", label="Discharges"))
        readmitted = inside["event"] == 1
        counts = {f"readmitted_{h}d": int((readmitted & (inside["time_days"] < h)).sum()) for h in horizons}
        counts[f"died_{horizons[-1]}d"] = int((inside["event"] == 2).sum())
        for column, count in counts.items():
            what, _, within = column.partition("_")
            label = f"{what.capitalize()} within {within.removesuffix('d')} days"
            cells.append(Cell(name, column, count, "count", label=label))
            cells.append(
                Cell(
                    name,
                    f"{column}_percent",
                    100 * count / len(inside),
                    "percent",
                    unit="%",
                    numerator=f"{name}/{column}",
                    denominator=f"{name}/discharges",
                    label=label,
                )
            )
    return cells


def _curve_cells(rows: pd.DataFrame, horizon_days: int, level: float) -> list[Cell]:
    cells = []
    days = CURVE_DAYS[horizon_days >= CURVE_DAYS]
    for name, inside in _named_cells(rows):
        time, event = inside["time_days"].to_numpy(), inside["event"].to_numpy()
        follow_up = derive_first_return(inside)
        curve = compute_risk_at(compute_cumulative_incidence(follow_up, options=IncidenceOptions(level=level))[0], days)
        for point in curve.itertuples():
            cells.append(
                Cell(
                    f"{name}|{point.day:.0f}",
                    "risk",
                    point.risk,
                    "statistic",
                    unit="risk (0 to 1)",
                    lower=point.lower,
                    upper=point.upper,
                    level=level,
                    n_people=inside["person_id"].nunique(),
                    n_events=math.nan if point.day == 0 else int(((event == 1) & (time < point.day)).sum()),
                    label=f"{name.replace('|', ', ')}: day {point.day:.0f}",
                )
            )
    return cells


def describe_recurrence(study: Study) -> list[Results]:
    """People, readmissions, deaths and rates per 1,000 days at risk since each person's first discharge."""
    outcomes = study.protocol.outcomes_of("readmission")
    if not outcomes:
        return []
    try:
        people = derive_recurrence(study.tables, study.protocol, index_ward_types=outcomes[0].index_ward_types)
    except NotEstimable:
        return []
    cells: list[Cell] = []
    groups = [("all", "Everybody", people)]
    for column in ("group", "sex"):
        groups += [
            (f"{column}.{name}", str(name).capitalize() if column == "sex" else str(name), inside)
            for name, inside in people.groupby(column, sort=True)
        ]
    for row, label, inside in groups:
        top = {
            "people": len(inside),
            "readmissions": int(inside["readmissions"].sum()),
            "deaths": int(inside["died"].sum()),
            "people_readmitted": int((inside["readmissions"] > 0).sum()),
        }
        days = float(inside["days_at_risk"].sum())
        for column, count in top.items():
            part = () if row == "all" else (f"all/{column}",)
            cells.append(Cell(row, column, count, "count", totals=part, label=label))
        cells.append(Cell(row, "days_at_risk", days, "statistic", unit="days", n_people=len(inside), label=label))
        if days > 0:
            cells.append(
                Cell(
                    row,
                    "readmissions_per_1000_days",
                    1000 * top["readmissions"] / days,
                    "rate",
                    unit="per 1,000 days at risk",
                    numerator=f"{row}/readmissions",
                    n_people=len(inside),
                    label=label,
                )
            )
    return [Results.from_cells("description.recurrence", cells)]
