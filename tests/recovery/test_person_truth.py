"""Person-level estimators hold the truth of simulated people, and what is known to fail is seen to fail.

The short version of `make person-truth`: 80 replicates a cell. Bounds are three Monte-Carlo errors of a coverage of 95%
(2.4 points each) and three and a half of the mean error; intervals may be a quarter wider than the spread asks for.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.comparison import Comparison
from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.history import EventHistory
from evalkit.core.dates import Window
from evalkit.core.estimand import Contrast, Estimand, Scale
from evalkit.core.result import Estimate
from evalkit.estimators.people.clone_censor import estimate_clone_effect
from evalkit.estimators.people.clone_people import CloneOptions, TrialPeople
from evalkit.estimators.people.impute import ImputeOptions, impute_missing
from evalkit.estimators.people.person_effects import EffectOptions, estimate_effect
from evalkit.estimators.people.rubin import pool_imputations
from evalkit.estimators.people.weighting import WeightOptions, build_weights
from evalkit.estimators.survival.cox import CoxOptions, estimate_hazard_ratio, fit_cox
from evalkit.estimators.survival.curve_contrasts import estimate_mean_count_difference, estimate_risk_difference
from evalkit.estimators.survival.curves import compute_curve_at, pick_curve
from evalkit.estimators.survival.fine_gray import estimate_subdistribution_ratio
from evalkit.estimators.survival.kaplan_meier import estimate_survival
from evalkit.estimators.survival.mean_count import MeanCountOptions, estimate_mean_count
from evalkit.estimators.survival.occupancy import compute_days_table, compute_occupancy_effect
from evalkit.estimators.survival.recurrent import estimate_recurrent
from evalkit.simulate.person_events import (
    CompetingSettings,
    RecurrenceSettings,
    simulate_competing,
    simulate_recurrence,
)
from evalkit.simulate.person_pathways import ABSORBING, STATES, PathwaySettings, simulate_pathways
from evalkit.simulate.person_trials import TrialSettings, simulate_trial
from evalkit.simulate.person_worlds import PeopleSettings, covariate_names, simulate_people

REPLICATES = 80
LOWEST = 0.95 - 3 * math.sqrt(0.95 * 0.05 / REPLICATES)
WINDOW = Window(dt.date(2016, 4, 1), dt.date(2018, 4, 1))
CAUSES = ("admission", "death")
Found = tuple[float, float, float]  # value, lower, upper; of logarithms for ratios


@dataclass(frozen=True)
class Cell:
    """What one estimator found, shape (R, 3), where the truth was `truth`."""

    found: np.ndarray
    truth: float

    @property
    def coverage(self) -> float:
        return float(((self.found[:, 1] <= self.truth) & (self.truth <= self.found[:, 2])).mean())

    @property
    def error(self) -> float:
        """Mean error in Monte-Carlo errors of its own."""
        values = self.found[:, 0]
        return float((values.mean() - self.truth) / (values.std(ddof=1) / math.sqrt(len(values))))

    @property
    def width(self) -> float:
        """Median width over that of a normal interval with the spread that was seen."""
        return float(np.median(self.found[:, 2] - self.found[:, 1]) / (2 * 1.96 * self.found[:, 0].std(ddof=1)))


def name(scale: Scale, contrast: Contrast = "ATE") -> Estimand:
    return Estimand("simulated", contrast, "people", WINDOW, scale)


def read(estimate: Estimate) -> Found:
    ends = (estimate.value, estimate.lower, estimate.upper)
    return tuple(math.log(v) for v in ends) if estimate.estimand.null_value == 1 else ends


def normal(value: float, se: float) -> Found:
    return value, value - 1.96 * se, value + 1.96 * se


def run(simulate: Callable, settings: object, truth: str, seed: int, *estimators: Callable) -> list[Cell]:
    """A cell for each estimator, all on the same draws; the truth is logged where it is a ratio."""
    known, rows = math.nan, []
    for replicate in range(REPLICATES):
        rng = np.random.default_rng([seed, replicate])
        frame, truths = simulate(settings, rng=rng)
        known = math.log(truths[truth]) if "ratio" in truth else truths[truth]
        rows.append([estimate(frame, rng) for estimate in estimators])
    return [Cell(np.array([row[k] for row in rows], dtype=np.float64), known) for k in range(len(estimators))]


def holds(cell: Cell) -> None:
    assert np.isfinite(cell.found).all()
    assert cell.coverage >= LOWEST
    assert abs(cell.error) < 3.5
    assert cell.width < 1.25


def effect(settings: PeopleSettings, scale: Scale, contrast: Contrast = "ATT", **options: object) -> Callable:
    def estimate(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        comparison = Comparison.from_frame(
            frame, treatment="treated", covariates=covariate_names(settings), outcome="outcome", before="before",
            cluster="cluster", person_time="person_time" if settings.outcome == "count" else None,
        )  # fmt: skip
        return read(estimate_effect(comparison, name(scale, contrast), options=EffectOptions(**options), rng=rng))

    return estimate


def unweighted(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
    one, none = (frame.loc[frame["treated"] == side, "outcome"] for side in (1, 0))
    return normal(one.mean() - none.mean(), math.sqrt(one.var() / len(one) + none.var() / len(none)))


def follow(frame: pd.DataFrame, covariates: tuple[str, ...] = (), weights: str | None = None) -> FollowUp:
    return FollowUp.from_frame(
        frame, entry="entry", exit="exit", event="event", person="person", covariates=covariates, causes=CAUSES,
        weights=weights, stratum=None if covariates else "treated",
    )  # fmt: skip


def weigh(frame: pd.DataFrame) -> pd.DataFrame:
    people = frame.drop_duplicates("person")
    comparison = Comparison.from_frame(people, treatment="treated", covariates=("severity",))
    built = build_weights(comparison, options=WeightOptions(estimand="ATE"))
    return frame.assign(weight=frame["person"].map(pd.Series(built.weights, index=people["person"].to_numpy())))


@pytest.mark.parametrize("people", [200, 600])
def test_confounding_by_indication(people):
    """Worse people are treated: balanced comparisons hold the effect on the treated, the plain one does not."""
    settings = PeopleSettings(people=people, effect=-0.7, treated_share=0.4)
    cells = run(
        simulate_people, settings, "ATT.risk_difference", 1, unweighted,
        *(effect(settings, "risk_difference", method=method) for method in ("gcomp", "ipw", "aipw", "tmle")),
        effect(settings, "risk_difference", method="ipw", weights=WeightOptions(method="entropy")),
    )  # fmt: skip
    assert cells[0].error > 8
    assert cells[0].coverage < (0.8 if people == 200 else 0.4)
    for cell in cells[1:]:
        holds(cell)


def test_rates_and_overlap_weights():
    settings = PeopleSettings(people=400, outcome="count", effect=-0.35)
    for cell in run(
        simulate_people, settings, "ATO.rate_ratio", 2,
        *(effect(settings, "rate_ratio", "ATO", method=method) for method in ("ipw", "aipw")),
    ):  # fmt: skip
        holds(cell)


def test_one_wrong_model_is_forgiven_by_the_doubly_robust_alone():
    settings = PeopleSettings(people=600, outcome="continuous", effect=-0.4, nonlinear="outcome")
    gcomp, aipw = run(
        simulate_people, settings, "ATT.mean_difference", 3,
        *(effect(settings, "mean_difference", method=method) for method in ("gcomp", "aipw")),
    )  # fmt: skip
    assert gcomp.error > 6
    holds(aipw)
    settings = replace(settings, nonlinear="propensity")
    ipw, aipw = run(
        simulate_people, settings, "ATT.mean_difference", 4,
        *(effect(settings, "mean_difference", method=method) for method in ("ipw", "aipw")),
    )  # fmt: skip
    assert ipw.error > 6
    holds(aipw)


def test_a_hidden_trait_needs_the_time_before():
    settings = PeopleSettings(people=200, outcome="continuous", effect=-0.4, hidden=1.0)
    after, *change = run(
        simulate_people, settings, "ATT.mean_difference", 5,
        *(effect(settings, "mean_difference", method=m) for m in ("aipw", "did_gcomp", "did_ipw", "did_aipw")),
    )  # fmt: skip
    assert after.coverage < 0.5
    for cell in change:
        holds(cell)


def test_clusters_count():
    """30 teams that differ in outcome and in use: clustered errors hold, those of independent people do not."""
    settings = PeopleSettings(people=600, outcome="continuous", clusters=30, cluster_sd=1.0)
    clustered = effect(settings, "mean_difference", method="aipw")

    def independent(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        return clustered(frame.assign(cluster=frame["person"]), rng)

    right, wrong = run(simulate_people, settings, "ATT.mean_difference", 6, clustered, independent)
    assert right.coverage >= LOWEST - 0.03  # 30 clusters leave an error that is a little too small
    assert abs(right.error) < 3.5
    assert wrong.coverage < 0.8


def test_imputation_holds_where_complete_people_do_not():
    settings = PeopleSettings(people=600, outcome="continuous", effect=-0.4, missing=0.3)
    aipw = effect(settings, "mean_difference", method="aipw")
    columns = ("treated", *covariate_names(settings), "outcome")

    def imputed(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        frames = impute_missing(frame, columns=columns, options=ImputeOptions(imputations=5, iterations=2), rng=rng)
        found = []
        for full in frames:
            comparison = Comparison.from_frame(
                full, treatment="treated", covariates=covariate_names(settings), outcome="outcome"
            )
            found.append(estimate_effect(comparison, name("mean_difference", "ATT"), options=EffectOptions()))
        return read(pool_imputations(found))

    def complete(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        return aipw(frame.dropna(), rng)

    pooled, alone = run(simulate_people, settings, "ATT.mean_difference", 7, imputed, complete)
    assert pooled.coverage >= LOWEST
    assert abs(pooled.error) < 3.5
    assert abs(alone.error) > 6


@pytest.mark.parametrize("people", [200, 600])
def test_recurrent_admissions_with_frailty_and_informative_deaths(people):
    settings = RecurrenceSettings(people=people, rate_ratio=0.7, deaths_per_year=0.25, late_share=0.3)

    def lwyy(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        return read(estimate_recurrent(follow(frame, ("treated",)), name("rate_ratio"), covariate="treated"))

    def naive(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        fit = fit_cox(follow(frame, ("treated",)), options=CoxOptions(errors="model"))
        return normal(fit.coefficients[0], fit.standard_errors[0])

    right, wrong = run(simulate_recurrence, settings, "rate_ratio", 8, lwyy, naive)
    holds(right)
    # The same estimate on the same draws: errors of independent events are far smaller, and too small.
    assert wrong.width < 0.8 * right.width
    assert wrong.coverage < right.coverage


def test_mean_counts_with_death():
    settings = RecurrenceSettings(people=200, rate_ratio=0.7, deaths_per_year=0.25, selection=0.8, severity_effect=0.4)

    def weighted(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        follow_up = follow(weigh(frame), weights="weight")
        return read(estimate_mean_count_difference(follow_up, name("events_per_person"), at=365.9, role="primary"))

    def plain(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        return read(estimate_mean_count_difference(follow(frame), name("events_per_person"), at=365.9, role="naive"))

    right, wrong = run(simulate_recurrence, settings, "difference.mean_count.365", 9, weighted, plain)
    assert right.coverage >= LOWEST
    assert abs(right.error) < 3.5
    assert wrong.error > 6


def test_the_dead_are_not_readmitted():
    """One side alone: mean counts and risks with death hold; those that take the dead for censored are too high."""

    def count(terminal: str) -> Callable:
        def estimate(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
            curves = estimate_mean_count(follow(frame), options=MeanCountOptions(terminal=terminal))
            row = compute_curve_at(pick_curve(curves, stratum=0), [365.9]).iloc[0]
            return row["value"], row["lower"], row["upper"]

        return estimate

    settings = RecurrenceSettings(people=300, deaths_per_year=0.4)
    right, wrong = run(
        simulate_recurrence, settings, "mean_count.comparison.365", 10, count("other_causes"), count("none")
    )
    holds(right)
    assert wrong.error > 5

    def kaplan_meier(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        curves = estimate_survival(follow(frame.assign(event=frame["event"] == 1)))
        row = compute_curve_at(pick_curve(curves, stratum=0), [365]).iloc[0]
        return normal(1 - row["value"], row["se"])

    (wrong,) = run(
        simulate_competing, CompetingSettings(people=300, death_days=400.0), "risk.comparison.365", 11, kaplan_meier
    )
    assert wrong.coverage < 0.5


def test_first_readmission_with_death_competing():
    def risk(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        return read(estimate_risk_difference(follow(frame), name("risk_difference"), at=90.0, role="primary"))

    settings = CompetingSettings(people=400, ratio=0.65, death_days=400.0)
    (cell,) = run(simulate_competing, settings, "difference.risk.90", 12, risk)
    holds(cell)

    def hazard(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        follow_up = follow(frame, ("treated", "severity"))
        return read(estimate_hazard_ratio(follow_up, name("hazard_ratio"), covariate="treated"))

    settings = replace(settings, selection=0.8, late_share=0.3)
    (cell,) = run(simulate_competing, settings, "hazard_ratio", 13, hazard)
    holds(cell)


@pytest.mark.parametrize("late", [0.0, 0.3])
def test_the_subdistribution_ratio(late):
    def fine_gray(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        follow_up = follow(frame, ("treated", "severity"))
        return read(estimate_subdistribution_ratio(follow_up, name("hazard_ratio"), covariate="treated"))

    settings = CompetingSettings(people=200, hazard="subdistribution", ratio=0.65, late_share=late)
    (cell,) = run(simulate_competing, settings, "subdistribution_ratio", 14, fine_gray)
    holds(cell)


@pytest.mark.parametrize("sojourn", ["markov", "semi_markov"])
def test_pathways_in_four_cells(sojourn):
    """50 people a cell: days in their own tenancy, a Markov world and one in which it matters how long one stayed."""

    def days(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        history = EventHistory.from_frame(
            frame, person="person", start="start", stop="stop", from_state="from_state", to_state="to_state",
            states=STATES, absorbing=ABSORBING, stratum="cell",
        )  # fmt: skip
        found = compute_occupancy_effect(history, horizon=365.0, at=[365.0], replicates=100, rng=rng)
        table = compute_days_table(found, interval="normal")
        row = table[(table["quantity"] == "difference") & (table["state"] == "own tenancy")].iloc[0]
        return row["value"], row["lower"], row["upper"]

    settings = PathwaySettings(people_per_cell=50, effect=1.8, sojourn=sojourn)
    (cell,) = run(simulate_pathways, settings, "did.days.own tenancy.365", 15, days)
    holds(cell)


def test_a_grace_period_without_immortal_time():
    settings = TrialSettings(
        people=300, hazard_ratio=0.6, selection=0.2, events_per_year=1.5, grace_days=90.0, last_start=90.0
    )
    options = CloneOptions(
        grace_days=90.0, horizon_days=180.0, interval_days=15.0, start_weights="grace_end", replicates=100
    )

    def clones(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        people = TrialPeople.from_frame(
            frame, person="person", start="start", exit="exit", event="event", covariates=("severity",)
        )
        return read(estimate_clone_effect(people, name("risk_difference"), options=options, rng=rng))

    def started(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        groups = FollowUp.from_frame(
            frame.assign(started=frame["start"].notna()), exit="exit", event="event", stratum="started"
        )
        return read(estimate_risk_difference(groups, name("risk_difference"), at=180.0, role="naive"))

    right, wrong = run(simulate_trial, settings, "difference.start.180", 16, clones, started)
    assert right.coverage >= LOWEST
    assert abs(right.error) < 3.5
    assert wrong.error < -10
    assert wrong.coverage < 0.5
