"""Attacks on what is estimated of people: each ends in the right number or in an error with a name, never in between.

Warnings are errors in this suite, so that a probe which only warns fails too.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.comparison import Comparison
from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.result import Estimate
from evalkit.core.target_trial import TargetTrial, build_trial_table
from evalkit.estimators.people.cell_counts import compute_mean_counts, estimate_mean_count_did
from evalkit.estimators.people.cell_weights import build_cell_weights
from evalkit.estimators.people.clone_censor import estimate_clone_curves, estimate_clone_effect
from evalkit.estimators.people.clone_people import CloneOptions, TrialPeople
from evalkit.estimators.people.evalue import (
    check_e_value,
    compute_e_value,
    compute_e_value_of_counts,
)
from evalkit.estimators.people.impute import ImputeOptions, impute_missing
from evalkit.estimators.people.matching import MatchOptions, match
from evalkit.estimators.people.matching_effect import (
    MatchedEffectOptions,
    estimate_matched_effect,
)
from evalkit.estimators.people.negative_control import (
    ErrorModel,
    calibrate_estimate,
    check_negative_control,
    estimate_negative_control,
    fit_systematic_error,
)
from evalkit.estimators.people.overlap import compute_largest_smd, compute_overlap_effect, estimate_overlap_aipw_did
from evalkit.estimators.people.people_registry import estimate_by_design
from evalkit.estimators.people.person_effects import EffectOptions, estimate_effect
from evalkit.estimators.people.rubin import compute_pooled, pool_imputations
from evalkit.estimators.people.subgroups import SubgroupOptions, estimate_subgroup_effects, shrink_interactions
from evalkit.estimators.people.tipping_point import (
    OutcomeSide,
    compute_missing_tipping_point,
    compute_tipping_effect,
    estimate_delta_tipping_point,
)
from evalkit.estimators.people.weighting import (
    WeightOptions,
    build_weights,
    compute_contrast_weights,
    estimate_propensity,
)

YEAR = Window(dt.date(2015, 4, 1), dt.date(2016, 4, 1))
NAN = math.nan


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def estimand(scale: str = "mean_difference", contrast: str = "ATT") -> Estimand:
    return Estimand("y", contrast, "people", YEAR, scale)


def found(value: float = 1.0, scale: str = "mean_difference", **changed: object) -> Estimate:
    ends = (value, value * 0.6, value * 1.4)
    return replace(
        Estimate(estimand(scale), "m", "primary", *ends, 0.95, se=0.2, n_people=100.0, n_events=50.0), **changed
    )


# ---- four cells ----------------------------------------------------------------------------------

N = 400
CELL, WHO = rng().integers(0, 4, N), rng(2).integers(0, 300, N)
COVARIATES = pd.DataFrame({"age": rng(3).normal(size=N), "ill": (rng(4).random(N) < 0.4).astype(float)})
FIRST = np.arange(N) < 3


def cells(covariates: pd.DataFrame = COVARIATES, cell: np.ndarray = CELL, who: np.ndarray = WHO, **other: object):
    return build_cell_weights(covariates, cell, who, **({"replicates": 20, "rng": rng()} | other))


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"covariates": COVARIATES.assign(age=COVARIATES["age"].mask(FIRST))}, ParameterError, "age: fewer than 10"),
        ({"covariates": COVARIATES.assign(age=np.where(FIRST, np.inf, 0.0))}, ParameterError, "age"),
        ({"covariates": COVARIATES.assign(age="old")}, ParameterError, "age: 400 rows"),
        ({"cell": np.where(FIRST, 7, CELL)}, ParameterError, "fewer than 10 rows are in no cell"),
        ({"cell": np.where(FIRST, -1, CELL)}, ParameterError, "in no cell"),
        ({"cell": np.where(FIRST, NAN, CELL)}, ParameterError, "in no cell"),
        ({"cell": np.where(CELL == 2, 3, CELL)}, NotEstimable, "comparison after"),
        ({"who": CELL}, NotEstimable, "too few people"),  # many rows, one person a cell
        ({"who": np.where(FIRST, NAN, WHO)}, ParameterError, "of nobody"),
        ({"who": WHO[:-1]}, ParameterError, "differ in length"),
        ({"replicates": 1}, ParameterError, "replicates"),
        ({"rng": None}, ParameterError, "rng"),
        ({"rng": 7}, ParameterError, "rng"),
        ({"covariates": COVARIATES.to_numpy()}, ParameterError, "DataFrame"),
        ({"covariates": pd.concat([COVARIATES, COVARIATES], axis=1)}, ParameterError, "different names"),
        ({"covariates": COVARIATES.assign(age=5.0 * (CELL == 0) + 1e-3 * np.arange(N))}, NotEstimable, "age"),
    ],
)
def test_cells_refuse_by_name(given, kind, words):
    with pytest.raises(kind, match=words):
        cells(**given)


def test_cells_do_not_depend_on_the_order_of_rows_and_take_a_person_in_three():
    who = np.arange(N) % 120
    order = rng(9).permutation(N)
    one, other = cells(who=who), cells(COVARIATES.iloc[order], CELL[order], who[order])
    assert other.base == pytest.approx(one.base[order], rel=1e-9)
    assert other.draws == pytest.approx(one.draws[:, order], rel=1e-6)
    # All rows of a person are drawn as often as each other.
    assert all(len(np.unique(draws)) == 1 for draws in one.counts.T.reshape(N, -1)[who == 5].T)


def test_draws_that_keep_the_weights_of_the_data_are_told():
    weights = cells()
    assert weights.refitted == 1 and "refitted" not in [c.name for c in weights.checks]
    lost = {c.name: c for c in replace(weights, refitted=0.93).checks}["refitted"]
    assert lost.passed is False and "7.0%" in lost.text


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"day": np.full(900, 150)}, "not followed"),
        ({"day": np.full(900, -3)}, "not followed"),
        ({"exit_days": np.full(N, 10), "day": np.full(900, 50)}, "not followed"),
        ({"exit_days": np.zeros(N)}, "followed for no day"),
        ({"row": np.full(900, N)}, "events of nobody"),
    ],
)
def test_events_outside_follow_up_are_not_counted(changed, words):
    given = {"exit_days": np.full(N, 100), "row": rng(3).integers(0, N, 900), "day": rng(4).integers(0, 100, 900)}
    given |= {"died": np.zeros(N, dtype=bool), "horizon_days": 100}
    with pytest.raises(ParameterError, match=words):
        compute_mean_counts(np.ones((1, N)), CELL, **(given | changed))


@pytest.mark.parametrize("level", [95, 0, 1, NAN, "0.95"])
def test_a_level_is_a_share(level):
    given = {"exit_days": np.full(N, 100), "row": rng(3).integers(0, N, 900), "day": rng(4).integers(0, 100, 900)}
    given |= {"died": np.zeros(N, dtype=bool), "horizon_days": 100, "n_people": 300}
    sides = OutcomeSide(100, 5.0, 1.0, 20), OutcomeSide(100, 4.0, 1.0, 20)
    comparison = people()
    for attempt in (
        lambda: estimate_mean_count_did(cells(), estimand("events_per_person"), level=level, **given),
        lambda: estimate_overlap_aipw_did(READ, RISK, covariates=("a", "b"), horizon_days=90, level=level),
        lambda: shrink_interactions(np.array([0.1]), np.eye(1), options=SubgroupOptions(level=level)),
        lambda: estimate_matched_effect(comparison, match(comparison), estimand(), level=level),
        lambda: estimate_by_design(comparison, estimand(), design="matched_did", level=level),
        lambda: estimate_effect(comparison, estimand(), options=EffectOptions(level=level)),
        lambda: estimate_clone_effect(trial(), ATE, options=TRIAL, rng=rng(), level=level),
        lambda: estimate_clone_curves(trial(), days=np.array([50.0]), options=TRIAL, rng=rng(), level=level),
        lambda: pool_imputations([found(1.0), found(1.1)], level=level),
        lambda: compute_pooled(np.array([1.0, 2.0]), np.ones(2), level=level),
        lambda: compute_missing_tipping_point(*sides, treated_shifts=[0.0], level=level),
        lambda: compute_e_value_of_counts(40, 100, 20, 100, level=level),
    ):
        with pytest.raises(ParameterError, match="level"):
            attempt()


# ---- overlap and subgroups -----------------------------------------------------------------------

RISK = estimand("risk_difference", "ATO")


def discharges(n: int = 1200) -> pd.DataFrame:
    draw = rng(2)
    cell, x, event = draw.integers(0, 4, n), draw.normal(size=(n, 2)), (draw.random(n) < 0.3).astype(int)
    return pd.DataFrame({
        "person_id": np.arange(n), "area": "A", "treated": cell < 2, "period": np.where(cell % 2, "before", "after"),
        "time_days": np.where(event, draw.integers(1, 80, n), 90), "event": event, "a": x[:, 0], "b": x[:, 1],
    })  # fmt: skip


READ = discharges()


@pytest.mark.parametrize(
    ("rows", "covariates", "kind", "words"),
    [
        (READ.assign(a=READ["a"].mask(READ.index < 3)), ("a", "b"), ParameterError, "a: fewer than 10"),
        (READ.assign(period=READ["period"].mask(READ.index < 3, "During")), ("a",), ParameterError, "period"),
        (READ.assign(person_id=READ["person_id"].mask(READ.index < 3)), ("a",), ParameterError, "person_id"),
        (READ, ("zz",), ParameterError, "zz"),
        (READ, (), NotEstimable, "none of them varies"),
        (READ.assign(a=1.0), ("a",), NotEstimable, "none of them varies"),
        (READ.assign(a=10.0 * READ["treated"]), ("a", "b"), NotEstimable, "a: it tells cells apart"),
        (READ[~(READ["treated"] & (READ["period"] == "after"))], ("a",), NotEstimable, "treated after"),
    ],
)
def test_overlap_refuses_by_name(rows, covariates, kind, words):
    with pytest.raises(kind, match=words):
        estimate_overlap_aipw_did(rows, RISK, covariates=covariates, horizon_days=90, level=0.95)


def test_what_tells_cells_apart_is_no_balance():
    cell = np.repeat([0, 1, 2, 3], 10)
    x = np.column_stack([cell < 2, np.ones(40), rng().normal(size=40)]).astype(float)
    largest = compute_largest_smd(x, cell, np.ones(40))
    assert np.isinf(largest[0]) and largest[1] == 0 and np.isfinite(largest[2])


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (lambda g: g.assign(old=g["old"].mask(g.index < 3)), "old: fewer than 10 rows"),
        (lambda g: g + 1, "neither 0 nor 1"),
        (lambda g: g.assign(old=g["old"].map({0: "no", 1: "yes"})), "neither 0 nor 1"),
        (lambda g: g.iloc[:-1], "differ in length"),
    ],
)
def test_nobody_is_put_on_a_side_of_a_subgroup_unasked(groups, words):
    effect = compute_overlap_effect(READ, covariates=("a", "b"), horizon_days=90)
    old = pd.DataFrame({"old": (rng(5).random(len(READ)) < 0.5).astype(int)})
    who = READ["person_id"].to_numpy()
    estimates, _ = estimate_subgroup_effects(effect, old, who, RISK)
    assert estimates[0].lower < estimates[0].value < estimates[0].upper
    with pytest.raises(ParameterError, match=words):
        estimate_subgroup_effects(effect, groups(old), who, RISK)
    none, interactions = estimate_subgroup_effects(effect, old.assign(old=1), who, RISK)  # the same for all
    assert none[0].status == "not_estimable" and interactions is None
    with pytest.raises(ParameterError, match="of nobody"):
        estimate_subgroup_effects(effect, old, np.where(who < 3, NAN, who), RISK)


@pytest.mark.parametrize("scale", [0.0, -0.05, NAN, math.inf])
def test_a_prior_has_a_positive_scale(scale):
    with pytest.raises(ParameterError, match="prior_scale"):
        shrink_interactions(np.array([0.1]), np.eye(1), options=SubgroupOptions(prior_scale=scale))


def test_shrinkage_of_one_interaction_by_hand():
    """Against 200,000 draws of tau from the half-normal prior, weighted by the likelihood; error about 0.002."""
    tau = np.abs(rng().normal(scale=0.05, size=200_000))
    weight = np.exp(-0.5 * 0.1**2 / (0.01 + tau**2)) / np.sqrt(0.01 + tau**2)
    by_hand = np.average(0.1 * tau**2 / (0.01 + tau**2), weights=weight)
    mean, *_ = shrink_interactions(np.array([0.1]), np.array([[0.01]]))
    assert mean[0] == pytest.approx(by_hand, abs=5e-4)
    with pytest.raises(ParameterError, match="missing or infinite"):
        shrink_interactions(np.array([NAN]), np.eye(1))


# ---- balanced comparisons ------------------------------------------------------------------------


def frame(n: int = 300) -> pd.DataFrame:
    draw = rng()
    x = draw.normal(size=(n, 2))
    treated = draw.random(n) < 1 / (1 + np.exp(-0.4 * x[:, 0]))
    return pd.DataFrame({
        "age": x[:, 0], "ill": x[:, 1], "treated": treated.astype(int), "y": x[:, 0] + treated + draw.normal(size=n),
        "before": x[:, 0] + draw.normal(size=n), "ward": np.arange(n),
    })  # fmt: skip


def people(df: pd.DataFrame | None = None, **other: object) -> Comparison:
    columns = {"treatment": "treated", "covariates": ("age", "ill"), "outcome": "y", "before": "before"}
    return Comparison.from_frame(frame() if df is None else df, **(columns | other))


@pytest.mark.parametrize("method", ["gcomp", "did_gcomp", "ipw", "aipw", "tmle", "did_aipw"])
@pytest.mark.parametrize("contrast", ["ATT", "ATE"])
def test_no_method_extrapolates_over_a_gap(method, contrast):
    if method.startswith("did_") and contrast == "ATE":
        contrast = "ATT"
    apart = people(frame().assign(age=lambda d: d["age"] + 50 * d["treated"]))
    with pytest.raises(NotEstimable, match="age"):
        estimate_effect(apart, estimand(contrast=contrast), options=EffectOptions(method=method))


def test_extrapolation_is_told():
    reaching = people(frame().assign(age=lambda d: d["age"] + 2.5 * d["treated"]))
    checks = {c.name: c for c in estimate_effect(reaching, estimand(), options=EffectOptions(method="gcomp")).checks}
    t, age = reaching.treated, reaching.covariates[:, 0]
    ill = reaching.covariates[:, 1]
    beyond = (age > age[~t].max()) | (age < age[~t].min()) | (ill > ill[~t].max()) | (ill < ill[~t].min())
    assert checks["extrapolation"].value == pytest.approx(beyond[t].mean())
    assert checks["extrapolation"].passed is False


@pytest.mark.parametrize("method", ["gcomp", "ipw", "aipw", "tmle"])
@pytest.mark.parametrize(
    ("changed", "scale", "words"),
    [
        ({"y": (np.arange(300) < 9).astype(float)}, "risk_difference", "fewer than 10 events"),
        ({"y": 1.0}, "mean_difference", "the same for everybody"),
        ({"ward": frame()["treated"]}, "mean_difference", "in one cluster"),
        ({"ill": frame()["treated"]}, "mean_difference", "ill"),
    ],
)
def test_effects_refuse_by_name(method, changed, scale, words):
    given = people(frame().assign(**changed), before=None, cluster="ward")
    with pytest.raises(NotEstimable, match=words) as refusal:
        estimate_effect(given, estimand(scale), options=EffectOptions(method=method))
    assert " 9 " not in str(refusal.value)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "aipww"}, {"errors": "boot"}, {"correction": "hc3"}, {"interactions": "al"}, {"folds": 1},
        {"folds": 2.5}, {"folds": 3}, {"errors": "bootstrap"}, {"errors": "bootstrap", "replicates": 150.5},
        {"method": "tmle", "bounds": (5, -5)}, {"method": "tmle", "bounds": (0, 1, 2)},
        {"method": "tmle", "bounds": (NAN, 1.0)}, {"method": "tmle", "bounds": (0.0, 1.0)},
        {"weights": WeightOptions(trim="a")}, {"weights": WeightOptions(trim=0.6)},
    ],
)  # fmt: skip
def test_options_of_effects(options):
    with pytest.raises(ParameterError):
        estimate_effect(people(), estimand(), options=EffectOptions(**options))


@pytest.mark.parametrize("method", ["gcomp", "ipw"])
def test_infinite_sampling_weights(method):
    endless = replace(people(), sampling=np.where(np.arange(300) < 3, np.inf, 1.0))
    with pytest.raises(ParameterError, match="finite and positive"):
        estimate_effect(endless, estimand(), options=EffectOptions(method=method))


def test_bounds_the_wrong_way_round_are_refused_by_every_design():
    for design in ("matched_did", "did_aipw", "tmle"):
        with pytest.raises(ParameterError, match="bounds"):
            estimate_by_design(people(), estimand(), design=design, bounds=(10.0, -10.0))


def test_matched_differences_of_a_rare_event_are_refused():
    rare = frame().assign(y=(np.arange(300) < 9).astype(float), before=(np.arange(300) % 7 == 0).astype(float))
    with pytest.raises(NotEstimable, match="fewer than 10"):
        estimate_by_design(people(rare), estimand("risk_difference"), design="matched_did")


def test_weights_of_an_unknown_contrast():
    with pytest.raises(ParameterError, match="contrast"):
        compute_contrast_weights(people().treated, np.full(300, 0.5), "att")
    with pytest.raises(ParameterError, match="entropy"):
        estimate_propensity(people(), method="entropy")


@pytest.mark.parametrize("method", ["logistic", "boosted"])
def test_a_fold_that_holds_one_side_leaves_no_model(method):
    one = people(frame().assign(ward=lambda d: np.where(d["treated"] == 1, -1, d["ward"])), cluster="ward")
    with pytest.raises(NotEstimable, match="folds"):
        build_weights(one, options=WeightOptions(method=method, folds=5), rng=rng())


@pytest.mark.parametrize("method", ["gcomp", "ipw", "aipw", "tmle", "did_gcomp", "did_ipw", "did_aipw"])
def test_people_who_stand_twice_in_their_cluster_change_nothing(method):
    """Every row twice, in one cluster: the same value and the same error (CR0)."""
    options = EffectOptions(method=method, correction="none")
    one = estimate_effect(people(cluster="ward"), estimand(), options=options)
    twice = people(pd.concat([frame(), frame()], ignore_index=True), cluster="ward")
    other = estimate_effect(twice, estimand(), options=options)
    assert (other.value, other.se) == (pytest.approx(one.value, rel=1e-9), pytest.approx(one.se, rel=1e-9))


def test_a_seed_is_no_generator():
    for attempt in (
        lambda: match(people(), options=MatchOptions(order="random"), rng=7),
        lambda: build_weights(people(), options=WeightOptions(folds=3), rng=7),
        lambda: estimate_effect(people(), estimand(), options=EffectOptions(errors="bootstrap"), rng=7),
    ):
        with pytest.raises(ParameterError, match="rng"):
            attempt()


# ---- matching ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"ratio": 0}, {"ratio": 1.5}, {"ratio": "2"}, {"ratio": NAN}, {"caliper": 0.0}, {"caliper": -1.0},
        {"caliper": "0.2"}, {"caliper": NAN}, {"method": "nearset"}, {"order": "random"}, {"exact": ("agee",)},
        {"method": "exact"}, {"replace": "yes"},
    ],
)  # fmt: skip
def test_options_of_matching(options):
    with pytest.raises(ParameterError):
        match(people(), options=MatchOptions(**options))


def test_exact_on_a_continuous_covariate_matches_nobody():
    with pytest.raises(NotEstimable, match="Widen the caliper, or match exactly on fewer"):
        match(people(), options=MatchOptions(exact=("age",)))


def test_more_treated_than_others_is_told():
    few = frame()[lambda d: (d["treated"] == 1) | (d.index < 80)]
    treated, others = int(few["treated"].sum()), int((few["treated"] == 0).sum())
    assert treated > others
    checks = {c.name: c for c in match(people(few)).checks}
    assert checks["matched_treated"].passed is False
    assert checks["matched_treated"].value == treated - others


def test_matched_effect_options_take_no_branch_in_silence():
    pairs = match(people())
    for options in (MatchedEffectOptions(adjustment="intercated"), MatchedEffectOptions(correction="hc3")):
        with pytest.raises(ParameterError, match="not known"):
            estimate_matched_effect(people(), pairs, estimand(), options=options)
    with pytest.raises(ParameterError, match="0 and 1"):
        estimate_matched_effect(people(), pairs, estimand("risk_difference"))


def test_matching_within_one_cluster_a_side_has_no_error():
    sides = people(frame().assign(ward=lambda d: d["treated"]), cluster="ward")
    with pytest.raises(NotEstimable, match="in one cluster"):
        estimate_matched_effect(sides, match(sides), estimand())


# ---- trials --------------------------------------------------------------------------------------

ATE = estimand("risk_difference", "ATE")
TRIAL = CloneOptions(grace_days=14, horizon_days=100, replicates=100)


def trial(**changed: object) -> TrialPeople:
    draw, n = rng(), 400
    start = np.where(draw.random(n) < 0.5, draw.integers(0, 25, n).astype(float), NAN)
    end = np.minimum(draw.exponential(200, n) + 1, 120).round(1)
    df = pd.DataFrame({"who": np.arange(n), "start": np.where(start > end, NAN, start), "end": end})
    df = df.assign(event=(end < 120).astype(int), age=draw.normal(size=n)).assign(**changed)
    return TrialPeople.from_frame(df, person="who", start="start", exit="end", event="event", covariates=("age",))


@pytest.mark.parametrize(
    ("people_", "options", "kind", "words"),
    [
        ({"start": NAN}, {}, NotEstimable, "Got nobody"),
        ({"start": 0.0}, {}, NotEstimable, "without starting"),
        ({"event": 0}, {}, NotEstimable, "too few by the horizon"),
        ({}, {"grace_days": 200.0}, ParameterError, "as long as the follow-up"),
        ({}, {"grace_days": NAN}, ParameterError, "grace_days"),
        ({}, {"interval_days": "7"}, ParameterError, "interval_days"),
        ({}, {"horizon_days": 500.0}, NotEstimable, "followed to the horizon"),
        ({}, {"time_degree": 1.5}, ParameterError, "time_degree"),
        ({}, {"replicates": 100.5}, ParameterError, "replicates"),
        ({}, {"comparison": "never"}, ParameterError, "comparison"),
        ({}, {"largest_weight": 0.5}, ParameterError, "largest_weight"),
    ],
)
def test_clones_refuse_by_name(people_, options, kind, words):
    with pytest.raises(kind, match=words):
        estimate_clone_effect(trial(**people_), ATE, options=replace(TRIAL, **options), rng=rng())


def test_clones_need_a_generator_and_days_that_are_days():
    with pytest.raises(ParameterError, match="rng"):
        estimate_clone_effect(trial(), ATE, options=TRIAL, rng=None)
    for days in ([NAN], [-1.0], [101.0], []):
        with pytest.raises(ParameterError, match="days"):
            estimate_clone_curves(trial(), days=np.array(days), options=TRIAL, rng=rng())


@pytest.mark.parametrize(
    "changed",
    [
        {"eligibility": None}, {"eligibility": " "}, {"assumptions": None}, {"strategies": ("a",)},
        {"strategies": ("a", "a")}, {"strategies": "ab"}, {"follow_up_days": NAN}, {"grace_period_days": 50},
        {"causal_contrast": "itt"},
    ],
)  # fmt: skip
def test_a_trial_says_everything(changed):
    text = dict.fromkeys(("eligibility", "assignment", "time_zero", "outcome", "follow_up", "analysis"), "x")
    full = TargetTrial(
        **text, strategies=("a", "b"), grace_period_days=0, follow_up_days=10, causal_contrast="per_protocol"
    )
    assert len(build_trial_table(full, full)) == 7
    with pytest.raises(ParameterError):
        build_trial_table(replace(full, **changed), full)


# ---- missing values ------------------------------------------------------------------------------

TABLE = pd.DataFrame({"a": rng().normal(size=60), "b": rng(2).normal(size=60)})
GAPS = rng(4).random(60) < 0.3


@pytest.mark.parametrize(
    ("a", "options", "words"),
    [
        (NAN, {}, "too few values are known"),
        (None, {}, "too few values are known"),
        (TABLE["a"].mask(GAPS, np.inf), {}, "infinite"),
        ((TABLE["a"] * 1e200).mask(GAPS), {}, "too large"),
        (TABLE["a"] * 1j, {}, "complex"),
        (pd.Series([dt.date(2020, 1, 1 + k % 20) for k in range(60)], dtype=object).mask(GAPS), {}, "dates"),
        (TABLE["a"].mask(GAPS), {"numbers": "pmm"}, "numbers"),
        (TABLE["a"].mask(GAPS), {"imputations": 2.5}, "imputations"),
        (TABLE["a"].mask(GAPS), {"donors": 0}, "donors"),
    ],
)
def test_imputation_refuses_by_name(a, options, words):
    asked = ImputeOptions(**({"imputations": 2, "iterations": 2} | options))
    with pytest.raises(ParameterError, match=words):
        impute_missing(TABLE.assign(a=a), columns=("a", "b"), options=asked, rng=rng())


@pytest.mark.parametrize("numbers", ["matching", "normal"])
def test_a_constant_is_imputed_as_itself_and_nothing_without_a_generator(numbers):
    asked = ImputeOptions(imputations=2, iterations=2, numbers=numbers)
    constant = TABLE.assign(a=pd.Series(3.0, index=TABLE.index).mask(GAPS))
    for filled in impute_missing(constant, columns=("a", "b"), options=asked, rng=rng()):
        assert filled["a"].to_numpy() == pytest.approx(3.0, rel=1e-4)  # the ridge of mice, 1e-5
    with pytest.raises(ParameterError, match="rng"):
        impute_missing(constant, columns=("a", "b"), options=asked, rng=None)


def test_pooling_refuses_what_has_no_logarithm_or_error():
    with pytest.raises(ParameterError, match="positive"):
        pool_imputations([found(1.1, "risk_ratio"), found(-1.0, "risk_ratio")])
    for se in (NAN, 0.0):
        with pytest.raises(NotEstimable, match="without an error"):
            pool_imputations([found(), found(se=se)])
    with pytest.raises(ParameterError, match="numbers"):
        compute_pooled(np.array(["a", "b"]), np.ones(2))
    same = pool_imputations([found(), found()])
    assert (same.value, same.se) == (1.0, pytest.approx(0.2))


# ---- sensitivity ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "more"),
    [
        ((NAN, NAN, NAN), {"scale": "risk_ratio"}),
        ((2, 3, 1), {"scale": "risk_ratio"}),
        (("2", 1, 3), {"scale": "risk_ratio"}),
        ((0, 0, 1), {"scale": "risk_ratio"}),
        ((2, 1, 3), {"scale": "RR"}),
        ((2, 1, 3), {"scale": "odds_ratio", "rare": "no"}),
        ((2, 1, 3), {"scale": "mean_difference"}),
        ((2000, 1, 3000), {"scale": "mean_difference", "sd": 0.1}),
        ((-2000, -3000, -1), {"scale": "mean_difference", "sd": 0.1}),
        ((1e300, 1e299, 1e301), {"scale": "hazard_ratio", "rare": "common"}),
        ((-0.5, -0.6, -0.4), {"scale": "risk_difference", "comparison_risk": 0.5}),
        ((0.5, 0.2, 0.6), {"scale": "risk_difference", "comparison_risk": 0.6}),
        ((2, 1, 3), {"scale": "risk_ratio", "true": "1"}),
    ],
)
def test_e_values_of_what_is_no_finding(numbers, more):
    with pytest.raises(ParameterError):
        compute_e_value(*numbers, **more)


@pytest.mark.parametrize("strongest", [0.0, -3.0, NAN, math.inf])
def test_the_strongest_known_confounder_is_a_ratio(strongest):
    with pytest.raises(ParameterError, match="strongest_known"):
        check_e_value(compute_e_value(2, 1.5, 3, scale="risk_ratio"), strongest_known=strongest)


@pytest.mark.parametrize("counts", [(NAN, 10, 3, 10), (None, 10, 3, 10), (2.5, 10, 3, 10), (11, 10, 3, 10)])
def test_counts_of_an_e_value(counts):
    with pytest.raises(ParameterError, match="treated side"):
        compute_e_value_of_counts(*counts)


@pytest.mark.parametrize(("known", "missing"), [(NAN, 3), (math.inf, 3), (1, 3), (10, NAN), (10, -1), (10.5, 1)])
def test_tipping_points_count_people(known, missing):
    with pytest.raises(ParameterError, match="treated side"):
        compute_missing_tipping_point(
            OutcomeSide(known, 5.0, 1.0, missing), OutcomeSide(100, 4.0, 1.0, 20), treated_shifts=[0.0]
        )


def test_nobody_missing_tips_nothing():
    sides = OutcomeSide(100, 5.0, 1.0, 0), OutcomeSide(100, 4.0, 1.0, 0)
    tipped = compute_missing_tipping_point(*sides, treated_shifts=[0.0, -50.0])
    assert math.isnan(tipped.at) and tipped.table["value"].tolist() == [1.0, 1.0] and tipped.table["holds"].all()


@pytest.mark.parametrize(
    ("value", "scale", "prevalence"), [(2.0, "RR", 0.5), (NAN, "risk_ratio", 0.5), (-1.0, "risk_ratio", 0.5),
                                       (2.0, "risk_ratio", 5.0)]
)  # fmt: skip
def test_tipping_effects_of_nonsense(value, scale, prevalence):
    with pytest.raises(ParameterError):
        compute_tipping_effect(value, scale=scale, prevalence=prevalence, comparison_prevalence=0.2)


@pytest.mark.parametrize(
    "changed",
    [
        {"shifts": [0.0, NAN]}, {"missing": np.where(GAPS, 1.0, NAN)}, {"missing": np.arange(60)},
        {"missing": np.zeros(60, dtype=bool)}, {"column": "text"}, {"column": "zz"},
        {"frames": [TABLE, TABLE.iloc[:30]]},
    ],
)  # fmt: skip
def test_delta_adjustment_shifts_named_rows_only(changed):
    frames = [TABLE.assign(text="t"), (TABLE + 0.1).assign(text="t")]
    given = {"frames": frames, "column": "a", "missing": GAPS, "shifts": [0.0, 1.0]} | changed
    with pytest.raises(ParameterError):
        estimate_delta_tipping_point(given.pop("frames"), lambda d: found(float(d["a"].mean())), **given)


def test_negative_controls_that_cannot_speak():
    with pytest.raises(ParameterError, match="kind"):
        check_negative_control(found(), kind="perod", name="c")
    with pytest.raises(NotEstimable, match="the study's estimate"):
        estimate_negative_control(lambda _: found(), None, kind="period", name="c", main=found(NAN))
    error = fit_systematic_error([found(v) for v in (0.1, 0.2, -0.1, 0.3, 0.05)])
    with pytest.raises(ParameterError, match="another scale"):
        calibrate_estimate(found(2.0, "risk_ratio"), error)
    for se in (NAN, 0.0):
        with pytest.raises(NotEstimable, match="standard error"):
            calibrate_estimate(found(se=se), ErrorModel(0.0, 0.0, 5))
