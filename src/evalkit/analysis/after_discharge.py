"""What follows a discharge beside the first readmission: repeated admissions, days in hospital, for whom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from evalkit.analysis.cell_balance import build_balance_cells
from evalkit.analysis.study import Study
from evalkit.cohort.after_discharge import (
    STATES,
    AfterDischarge,
    build_after_discharge,
    derive_admission_follow_up,
    derive_hospital_history,
)
from evalkit.cohort.discharges import build_discharges, derive_readmission_cells
from evalkit.cohort.features import PERSON_FEATURES
from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import NotEstimable
from evalkit.core.estimand import Estimand, Scale
from evalkit.core.outcomes import NAIVE
from evalkit.core.pathway import DAYS_IN_HOSPITAL, RECURRENCE
from evalkit.core.result import Cell, Check, Estimate, Results, not_estimable
from evalkit.estimators.inference import NAIVE_LABEL, log_ratio_estimate, normal_estimate
from evalkit.estimators.people.cell_counts import MIN_EVENTS, compute_mean_counts, estimate_mean_count_did
from evalkit.estimators.people.cell_weights import CellWeights, build_cell_weights
from evalkit.estimators.people.overlap import CELLS, compute_overlap_effect
from evalkit.estimators.people.subgroups import SubgroupOptions, estimate_subgroup_effects
from evalkit.estimators.survival.cox import CoxOptions, fit_cox
from evalkit.estimators.survival.occupancy import compute_occupancy_effect, estimate_occupancy_difference

TABLE = "after_discharge"
MIN_PEOPLE = 10  # who went back, in each cell
_CURVE_EVERY_DAYS = 30


def estimate_after_discharge(study: Study) -> list[Results]:
    """Effects on admissions and days in hospital after the first discharge of each period, and their curves.

    Tables: `after_discharge` (estimates), `mean_count` (expected admissions by day and cell) and
    `balance.after_discharge`. Nothing where the protocol does not ask for it.
    """
    if study.protocol.after_discharge is None:
        return []
    try:
        return estimate_from_discharges(study, build_after_discharge(study.tables, study.protocol))
    except NotEstimable as refusal:
        asked = ((RECURRENCE, "events_per_person", "mean_count_did"), (RECURRENCE, "rate_ratio", "lwyy_did"),
                 (DAYS_IN_HOSPITAL, "days_per_person", "mean_days_did"))  # fmt: skip
        return [Results.from_estimates(
            [not_estimable(_estimand(study, outcome, scale), estimator, role="sensitivity", reason=refusal.reason)
             for outcome, scale, estimator in asked], table=TABLE,
        )]  # fmt: skip


def estimate_from_discharges(study: Study, after: AfterDischarge) -> list[Results]:
    """The tables of `estimate_after_discharge`; raises NotEstimable where the four cells cannot be compared."""
    covariates = after.people[list(PERSON_FEATURES)]
    weights = build_cell_weights(
        covariates, after.people["cell"].to_numpy(), after.people["person_id"].to_numpy(),
        replicates=study.protocol.inference.bootstrap_replicates, rng=study.rng(TABLE),
    )  # fmt: skip
    estimates = [
        *_counts(study, after, weights), _rate_ratio(study, after, weights), *_hospital_days(study, after, weights)
    ]  # fmt: skip
    return [
        Results.from_estimates(estimates, table=TABLE),
        Results.from_cells("mean_count", _curve_cells(study, after, weights)),
        Results.from_cells(f"balance.{TABLE}", build_balance_cells(weights.balance, covariates, weights.cell)),
    ]


def _estimand(study: Study, outcome: str, scale: Scale) -> Estimand:
    return Estimand(outcome, "ATT", study.protocol.population.label, study.protocol.dates.after, scale)


def _arrays(after: AfterDischarge) -> dict[str, object]:
    return {
        "exit_days": after.people["exit_days"].to_numpy(), "died": after.died,
        "row": after.admissions["row"].to_numpy(), "day": after.admissions["day"].to_numpy(),
        "horizon_days": after.horizon_days,
    }  # fmt: skip


def _counts(study: Study, after: AfterDischarge, weights: CellWeights) -> list[Estimate]:
    estimand = _estimand(study, RECURRENCE, "events_per_person")
    try:
        found = estimate_mean_count_did(
            weights, estimand, **_arrays(after), level=study.level, n_people=after.people["person_id"].nunique()
        )
        found = [replace(e, n_people=_treated_people(after)) if e.role == "naive" else e for e in found]
        # The mean with the service, however told, times the people is their number of admissions.
        return [replace(e, checks=tuple(c for c in e.checks if c.name != "relative_change")) for e in found]
    except NotEstimable as refusal:
        return [not_estimable(estimand, "mean_count_did", role="sensitivity", reason=refusal.reason)]


def _rate_ratio(study: Study, after: AfterDischarge, weights: CellWeights) -> Estimate:
    """Ratio of admission rates, treated after over before, over the same in comparison areas (LWYY).

    The error is from draws of people with weights and model fitted anew in each.
    """
    estimand = _estimand(study, RECURRENCE, "rate_ratio")
    events = np.bincount(weights.cell[after.admissions["row"]], minlength=len(CELLS))
    if events.min() < MIN_EVENTS:
        reason = f"Fewer than {MIN_EVENTS} admissions in one of the four cells."
        return not_estimable(estimand, "lwyy_did", role="sensitivity", reason=reason)
    try:
        follow_up = derive_admission_follow_up(after)
        found = np.array([_log_rate_ratio(follow_up, w) for w in weights.all])
    except NotEstimable as refusal:
        return not_estimable(estimand, "lwyy_did", role="sensitivity", reason=refusal.reason)
    alive = Check(
        "alive_only", None, float("nan"), "A ratio of rates among people still alive; the mean count counts the dead."
    )
    return log_ratio_estimate(
        estimand, "lwyy_did", role="sensitivity", log_value=found[0], se=float(found[1:].std(ddof=1)),
        level=study.level, label="Weighted rate model (LWYY), difference-in-differences",
        n_people=after.people["person_id"].nunique(), n_events=float(events.min()), checks=(*weights.checks, alive),
    )  # fmt: skip


def _log_rate_ratio(follow_up: FollowUp, weights: np.ndarray) -> float:
    """Interaction of group and period with these weights of discharges, whose places the persons' codes are."""
    w = weights[follow_up.person]
    drawn = follow_up.select(w > 0).with_weights(w[w > 0])
    fit = fit_cox(drawn, options=CoxOptions(ties="efron"))
    return float(fit.coefficients[fit.names.index("treated_after")])


def _hospital_days(study: Study, after: AfterDischarge, weights: CellWeights) -> list[Estimate]:
    estimand = _estimand(study, DAYS_IN_HOSPITAL, "days_per_person")
    place, horizon = STATES.index("in_hospital"), after.horizon_days
    try:
        effect = compute_occupancy_effect(
            derive_hospital_history(after, weights=weights.base), horizon=horizon, at=[horizon], cell=(0, 1, 2, 3),
            replicates=len(weights.draws), rng=study.rng(DAYS_IN_HOSPITAL), reweight=weights.draws,
        )  # fmt: skip
        naive = estimate_occupancy_difference(
            derive_hospital_history(after), first=0, second=1, at=[float(horizon)], horizon=horizon
        )
    except NotEstimable as refusal:
        return [not_estimable(estimand, "mean_days_did", role="sensitivity", reason=refusal.reason)]
    cell = after.people["cell"].to_numpy()
    back = np.bincount(cell[after.stays["row"].unique()], minlength=len(CELLS))
    if back.min() < MIN_PEOPLE:
        reason = f"Fewer than {MIN_PEOPLE} people went back in one of the four cells."
        return [not_estimable(estimand, "mean_days_did", role="sensitivity", reason=reason)]
    shared = {"level": study.level, "n_people": float(after.people["person_id"].nunique())}
    seen, without = (_days(float(d[place])) for d in (effect.days_observed, effect.days_counterfactual))
    days = Check(
        "days_with_and_without", None, float(seen),
        f"The treated after spent {seen} days in hospital; without the service {without}.",
    )  # fmt: skip
    return [
        normal_estimate(
            estimand, "mean_days_did", role="sensitivity", value=effect.days_difference[place],
            se=effect.draws_days_difference[:, place].std(ddof=1), n_events=float(back.min()),
            label="Weighted days in hospital, difference-in-differences", checks=(*weights.checks, days), **shared,
        ),
        normal_estimate(
            estimand, NAIVE, role="naive", value=naive.days[place], se=naive.days_se[place], label=NAIVE_LABEL,
            n_events=float(back[:2].min()), **(shared | {"n_people": _treated_people(after)}),
        ),
    ]  # fmt: skip


def _treated_people(after: AfterDischarge) -> float:
    """People of the treated area, whom alone a plain before and after is of."""
    return float(after.people.loc[after.people["treated"], "person_id"].nunique())


def _days(days: float) -> str:
    """As means of days leave the gate: whole from 100 on, else with one decimal."""
    return f"{days:.{int(abs(days) < 100)}f}"


def _curve_cells(study: Study, after: AfterDischarge, weights: CellWeights) -> list[Cell]:
    """Expected admissions by day in each cell, weighted to the treated after, with intervals of the draws."""
    means = compute_mean_counts(weights.all, weights.cell, **_arrays(after))
    events = pd.DataFrame({"cell": weights.cell[after.admissions["row"]], "day": after.admissions["day"]})
    tail = (1 - study.level) / 2
    cells = []
    for k, name in enumerate(CELLS):
        size = int((weights.cell == k).sum())
        for day in range(_CURVE_EVERY_DAYS, after.horizon_days + 1, _CURVE_EVERY_DAYS):
            low, high = np.quantile(means[1:, k, day], [tail, 1 - tail])
            count = int(((events["cell"] == k) & (events["day"] < day)).sum())
            cells.append(Cell(
                f"{name}|{day}", "mean_count", float(means[0, k, day]), "statistic", unit="admissions per person",
                lower=float(low), upper=float(high), level=study.level, n_people=float(size), n_events=float(count),
                label=f"{name.capitalize()}: day {day}",
            ))  # fmt: skip
    return cells


def estimate_subgroups(study: Study) -> list[Results]:
    """Whether the effect on readmission differs between people with and without what the protocol names.

    Tables: `subgroups` (shrunken interactions) and `subgroup_effects` (the effect in either kind of people).
    """
    spec = study.protocol.after_discharge
    if spec is None or not spec.subgroups:
        return []
    outcome = study.protocol.outcome(spec.subgroups_of)
    estimand, names = study.protocol.estimand(outcome), list(spec.subgroups)
    try:
        discharges = build_discharges(study.tables, study.protocol, index_ward_types=outcome.index_ward_types)
        rows = derive_readmission_cells(discharges, study.protocol, outcome)
        effect = compute_overlap_effect(rows, covariates=PERSON_FEATURES, horizon_days=outcome.horizon_days)
    except NotEstimable as refusal:
        return [Results.from_estimates(
            [not_estimable(replace(estimand, outcome=f"{name}.{outcome.key}"), "shrunken_interaction",
                           role="sensitivity", reason=refusal.reason) for name in names], table="subgroups",
        )]  # fmt: skip
    estimates, found = estimate_subgroup_effects(
        effect, rows[names], rows["person_id"].to_numpy(), estimand, options=SubgroupOptions(level=study.level)
    )
    cells = []
    for k, name in enumerate(found.names if found else ()):
        inside = rows[name].to_numpy() == 1
        for column, value, who in (("with", found.with_[k], inside), ("without", found.without[k], ~inside)):
            cells.append(Cell(
                name, column, float(value), "statistic", unit="difference in risk", label=name.replace("_", " "),
                n_people=float(rows["person_id"][who].nunique()), n_events=float(effect.readmitted[who].sum()),
            ))  # fmt: skip
    return [Results.from_estimates(estimates, table="subgroups"), Results.from_cells("subgroup_effects", cells)]
