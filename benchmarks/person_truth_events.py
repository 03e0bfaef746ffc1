"""Worlds of the person-level truth run with time in them: recurrent admissions and first readmission."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
from person_truth_types import (
    Entrant,
    Found,
    World,
    found_of,
    found_of_difference,
    found_of_log,
    name_estimand,
    or_refused,
)

from evalkit.cohort.comparison import Comparison
from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.people.weighting import WeightOptions, build_weights
from evalkit.estimators.survival.cox import CoxOptions, estimate_hazard_ratio, fit_cox
from evalkit.estimators.survival.cox_frailty import fit_shared_frailty
from evalkit.estimators.survival.cumulative_incidence import estimate_cumulative_incidence
from evalkit.estimators.survival.curve_contrasts import (
    estimate_mean_count_difference,
    estimate_risk_difference,
    estimate_time_difference,
)
from evalkit.estimators.survival.curves import compute_curve_at, pick_curve
from evalkit.estimators.survival.fine_gray import FineGrayOptions, estimate_subdistribution_ratio
from evalkit.estimators.survival.gray import compute_gray_test
from evalkit.estimators.survival.kaplan_meier import estimate_survival
from evalkit.estimators.survival.log_rank import compute_log_rank
from evalkit.estimators.survival.mean_count import MeanCountOptions, compare_mean_counts, estimate_mean_count
from evalkit.estimators.survival.parametric import ParametricOptions, fit_parametric
from evalkit.estimators.survival.recurrent import RecurrentOptions, estimate_recurrent
from evalkit.simulate.person_events import (
    CompetingSettings,
    RecurrenceSettings,
    simulate_competing,
    simulate_recurrence,
)

CAUSES = ("admission", "death")
DAYS = (30, 90, 365)
THROUGH = 0.9  # later events of one day are up to this much later
RISKS = {f"risk difference, day {day}": f"difference.risk.{day}" for day in DAYS}
ALONE = {"comparison risk, day 365": "risk.comparison.365"}
RATE = {"rate ratio": "rate_ratio"}
COUNTS = {"mean count difference": "difference.mean_count.365", "mean count ratio": "ratio.mean_count.365"}
LEVEL = {"comparison mean count": "mean_count.comparison.365"}
TESTED, TESTED_HAZARD = (
    {"test": "rate_ratio"},
    {"test": "hazard_ratio"},
)  # a test has no estimate: its truth is not used


def draw_recurrence(**changes: float) -> Callable:
    def draw(people: int, effect: int, rng: np.random.Generator) -> tuple[dict, dict[str, float]]:
        settings = RecurrenceSettings(people=people, rate_ratio=0.7 if effect else 1.0, **changes)
        frame, truth = simulate_recurrence(settings, rng=rng)
        return {"frame": frame}, truth

    return draw


def draw_competing(**changes: float | str) -> Callable:
    def draw(people: int, effect: int, rng: np.random.Generator) -> tuple[dict, dict[str, float]]:
        settings = CompetingSettings(people=people, ratio=0.65 if effect else 1.0, **changes)
        frame, truth = simulate_competing(settings, rng=rng)
        return {"frame": frame}, truth

    return draw


def build_follow_up(data: dict, covariates: tuple[str, ...] = (), weighted: str = "no") -> FollowUp:
    """Follow-up with covariates for a model, or without and then by treatment as stratum."""
    return FollowUp.from_frame(
        add_weights(data) if weighted == "yes" else data["frame"],
        entry="entry", exit="exit", event="event", person="person", covariates=covariates, causes=CAUSES,
        weights="weight" if weighted == "yes" else None, stratum=None if covariates else "treated",
    )  # fmt: skip


def add_weights(data: dict) -> pd.DataFrame:
    """The frame with a column `weight`: ATE weights of a logistic propensity, made once a replicate."""
    if "weighted" not in data:
        people = data["frame"].drop_duplicates("person")
        comparison = Comparison.from_frame(people, treatment="treated", covariates=("severity",))
        built = build_weights(comparison, options=WeightOptions(estimand="ATE"))
        weight = pd.Series(built.weights, index=people["person"].to_numpy())
        data["weighted"] = data["frame"].assign(weight=data["frame"]["person"].map(weight))
    return data["weighted"]


def run_recurrent(
    data: dict, *, covariates: tuple[str, ...] = ("treated",), weighted: str = "no", model: str = "lwyy"
) -> dict[str, Found]:
    """Ratio of one model; of those whose ratio is given earlier events, the test of no effect alone."""
    options = RecurrentOptions(model=model, max_events=None if model == "lwyy" else 3)
    scale = "rate_ratio" if model == "lwyy" else "hazard_ratio"
    found = found_of(
        estimate_recurrent(
            build_follow_up(data, covariates, weighted), name_estimand(scale), covariate="treated", options=options
        )
    )
    return {"rate ratio": found} if model == "lwyy" else {"test": Found(p_value=found.p_value)}


def run_model_errors(data: dict) -> dict[str, Found]:
    """Andersen-Gill as if a person's events were independent."""
    fit = fit_cox(build_follow_up(data, ("treated",)), options=CoxOptions(errors="model"))
    return {"rate ratio": found_of_log(fit.coefficients[0], fit.standard_errors[0])}


def run_hazard_ratio(
    data: dict, *, covariates: tuple[str, ...] = ("treated",), errors: str = "robust"
) -> dict[str, Found]:
    return {"hazard ratio": found_of(
        estimate_hazard_ratio(
            build_follow_up(data, covariates), name_estimand("hazard_ratio"), covariate="treated",
            options=CoxOptions(errors=errors),
        )
    )}  # fmt: skip


def run_frailty(data: dict) -> dict[str, Found]:
    """Rate ratio within a person, which is that of the settings: in these worlds it is the marginal one too."""
    fit = fit_shared_frailty(build_follow_up(data, ("treated",)))
    return {"rate ratio": found_of_log(fit.coefficients[0], fit.standard_errors[0])}


def run_exponential(data: dict) -> dict[str, Found]:
    """Hazard ratio from a model of times, which is right here: hazards are constant."""
    fit = fit_parametric(
        build_follow_up(data, ("treated", "severity")), options=ParametricOptions(distribution="exponential")
    )
    place = fit.names.index("treated")
    return {"hazard ratio": found_of_log(-fit.coefficients[place], float(np.sqrt(fit.variance[place, place])))}


def run_rank_test(data: dict, *, test: Callable) -> dict[str, Found]:
    """A test of two groups, in follow-up that is not split into strata."""
    follow_up = build_follow_up(data, ("treated",))
    return {"test": Found(p_value=test(follow_up, follow_up.covariates[:, 0]).p_value)}


def run_mean_count(data: dict, *, weighted: str = "no") -> dict[str, Found]:
    follow_up = build_follow_up(data, weighted=weighted)
    given = {"at": 365 + THROUGH, "role": "sensitivity"}
    return {
        name: found_of(estimate_mean_count_difference(follow_up, name_estimand(scale), **given))
        for name, scale in zip(COUNTS, ("events_per_person", "rate_ratio"), strict=True)
    }


def run_level(data: dict, *, terminal: str) -> dict[str, Found]:
    """Mean count of the comparison alone, with the interval that its curve has."""
    curves = estimate_mean_count(build_follow_up(data), options=MeanCountOptions(terminal=terminal))
    row = compute_curve_at(pick_curve(curves, stratum=0), [365 + THROUGH]).iloc[0]
    return {"comparison mean count": Found(row["value"], row["lower"], row["upper"])}


def run_mean_count_test(data: dict) -> dict[str, Found]:
    return {"test": Found(p_value=compare_mean_counts(build_follow_up(data), 1, 0).p_value)}


def run_days_lost(data: dict) -> dict[str, Found]:
    """Days lost to death in a year: one row a person, from entry to the end."""
    last = data["frame"].groupby("person", as_index=False).agg(
        entry=("entry", "min"), exit=("exit", "max"), event=("event", "last"), treated=("treated", "first")
    )  # fmt: skip
    follow_up = FollowUp.from_frame(
        last.assign(event=last["event"] == 2), entry="entry", exit="exit", event="event", person="person",
        stratum="treated", causes=("death",),
    )  # fmt: skip
    found = estimate_time_difference(follow_up, name_estimand("days_per_person"), at=365.0, role="sensitivity")
    return {"days lost difference": found_of(found)}


def run_incidence(data: dict, *, weighted: str = "no") -> dict[str, Found]:
    follow_up = build_follow_up(data, weighted=weighted)
    estimate = partial(estimate_risk_difference, follow_up, name_estimand("risk_difference"), role="primary")
    return {name: or_refused(partial(estimate, at=float(day))) for name, day in zip(RISKS, DAYS, strict=True)}


def run_risk(data: dict) -> dict[str, Found]:
    """Risk of the comparison alone, with the interval that its curve has."""
    curves = estimate_cumulative_incidence(build_follow_up(data))
    row = compute_curve_at(pick_curve(curves, stratum=0, cause="admission"), [365]).iloc[0]
    return {"comparison risk, day 365": Found(row["value"], row["lower"], row["upper"])}


def run_kaplan_meier(data: dict) -> dict[str, Found]:
    """One less Kaplan-Meier survival, deaths as censoring: forgetting that the dead do not return."""
    frame = data["frame"].assign(event=data["frame"]["event"] == 1)
    curves = estimate_survival(build_follow_up({"frame": frame}))
    row = compute_curve_at(pick_curve(curves, stratum=0), [365]).iloc[0]
    return {"comparison risk, day 365": found_of_difference(1 - row["value"], row["se"])}


def run_fine_gray(data: dict, *, errors: str) -> dict[str, Found]:
    return {"subdistribution ratio": found_of(
        estimate_subdistribution_ratio(
            build_follow_up(data, ("treated", "severity")), name_estimand("hazard_ratio"), covariate="treated",
            options=FineGrayOptions(errors=errors),
        )
    )}  # fmt: skip


def build_event_worlds() -> tuple[World, ...]:
    late = {"late_share": 0.3}
    return (
        World(
            "recurrence", "Recurrent admissions, frailty, deaths that depend on it, late entry; rate ratio 0.7 or none",
            draw_recurrence(deaths_per_year=0.25, **late),
            (
                Entrant("LWYY", RATE, run_recurrent),
                Entrant("gamma frailty", RATE, run_frailty, share=0.2),
                Entrant("Andersen-Gill, model errors", RATE, run_model_errors, fails=True),
                *(
                    Entrant(words, TESTED, partial(run_recurrent, model=model))
                    for model, words in (("pwp_total", "PWP, total time"), ("pwp_gap", "PWP, gap time"), ("wlw", "WLW"))
                ),
                Entrant("mean count with death", COUNTS, run_mean_count),
                Entrant("mean count, Ghosh-Lin test", TESTED, run_mean_count_test),
                Entrant("mean count, one side", LEVEL, partial(run_level, terminal="other_causes")),
                Entrant("mean count, death as censoring", LEVEL, partial(run_level, terminal="none"), fails=True),
                Entrant("restricted mean", {"days lost difference": "difference.rmtl.365"}, run_days_lost),
            ),
        ),
        World(
            "recurrence_confounded", "Recurrent admissions, worse people treated; rate ratio 0.7 or none",
            draw_recurrence(selection=0.8, severity_effect=0.4),
            (
                Entrant("LWYY, weighted", RATE, partial(run_recurrent, weighted="yes")),
                Entrant("LWYY, adjusted", RATE, partial(run_recurrent, covariates=("treated", "severity"))),
                Entrant("LWYY, unweighted", RATE, run_recurrent, fails=True),
                Entrant("mean count, weighted", COUNTS, partial(run_mean_count, weighted="yes")),
                Entrant("mean count, unweighted", COUNTS, run_mean_count, fails=True),
            ),
        ),
        _subdistribution("subdistribution", "First readmission in Fine and Gray's world; ratio 0.65 or none", {}),
        _subdistribution("subdistribution_late", "The same with late entry for three in ten", late),
        _cause_specific(late),
        World(
            "deaths", "First readmission, death about as likely, randomised; hazard ratio 0.65 or none",
            draw_competing(death_days=400.0),
            (
                Entrant("cumulative incidence", RISKS, run_incidence),
                Entrant("log-rank test", TESTED_HAZARD, partial(run_rank_test, test=compute_log_rank)),
                Entrant("Gray's test", TESTED_HAZARD, partial(run_rank_test, test=compute_gray_test)),
                Entrant("cumulative incidence, one side", ALONE, run_risk),
                Entrant("Kaplan-Meier, death as censoring", ALONE, run_kaplan_meier, fails=True),
            ),
        ),
    )  # fmt: skip


def _subdistribution(name: str, title: str, changes: Mapping[str, float]) -> World:
    ratio = {"subdistribution ratio": "subdistribution_ratio"}
    return World(
        name, title, draw_competing(hazard="subdistribution", **changes),
        (
            Entrant("Fine-Gray", ratio, partial(run_fine_gray, errors="robust_censoring")),
            Entrant("Fine-Gray, robust", ratio, partial(run_fine_gray, errors="robust")),
            Entrant("Fine-Gray, model errors", ratio, partial(run_fine_gray, errors="model")),
            Entrant("cumulative incidence", RISKS, run_incidence),
        ),
    )  # fmt: skip


def _cause_specific(changes: Mapping[str, float]) -> World:
    ratio = {"hazard ratio": "hazard_ratio"}
    adjusted = partial(run_hazard_ratio, covariates=("treated", "severity"))
    return World(
        "cause_specific", "First readmission, worse people treated, late entry; hazard ratio 0.65 or none",
        draw_competing(selection=0.8, **changes),
        (
            Entrant("Cox, adjusted", ratio, adjusted),
            Entrant("exponential model, adjusted", ratio, run_exponential),
            Entrant("Cox, adjusted, model errors", ratio, partial(adjusted, errors="model")),
            Entrant("Cox, unadjusted", ratio, run_hazard_ratio, fails=True),
            Entrant("cumulative incidence, weighted", RISKS, partial(run_incidence, weighted="yes")),
            Entrant("cumulative incidence, unweighted", RISKS, run_incidence, fails=True),
        ),
    )  # fmt: skip
