"""Protocols side by side, clones, their weights, and what is refused."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.duration.survfunc import CumIncidenceRight

from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.protocol import load_protocol
from evalkit.core.target_trial import TargetTrial, build_trial_table, derive_trials
from evalkit.estimators.people.clone_censor import (
    build_clone_follow_up,
    build_clones,
    estimate_censoring_weights,
    estimate_clone_curves,
    estimate_clone_effect,
)
from evalkit.estimators.people.clone_people import CloneOptions, TrialPeople
from evalkit.estimators.people.clone_risks import compute_clone_risks
from evalkit.estimators.people.clone_weights import build_start_rows, compute_clone_weights
from evalkit.estimators.people.target_trial import derive_clone_options
from tests.trial_people import GRACE, HORIZON, draw_people, draw_severity, draw_start

WINDOW = Window(dt.date(2013, 1, 1), dt.date(2014, 1, 1))
DIFFERENCE = Estimand("readmission", "ATE", "all", WINDOW, "risk_difference")
OPTIONS = CloneOptions(grace_days=GRACE, horizon_days=HORIZON, replicates=100)
TRIAL = TargetTrial(
    eligibility="Adults discharged from a rehabilitation ward.",
    strategies=("Join the alliance", "Usual care"),
    assignment="At random, not blinded.",
    time_zero="Discharge.",
    grace_period_days=90,
    outcome="Readmission to a psychiatric ward.",
    follow_up="From discharge to readmission, death or one year.",
    follow_up_days=365,
    causal_contrast="per_protocol",
    analysis="Risk difference at one year.",
)
EMULATION = replace(TRIAL, assignment="As if random given age and history.", assumptions="No unmeasured confounding.")


def read(frame: pd.DataFrame, **options: object) -> TrialPeople:
    options = {"covariates": ("severity",)} | options
    return TrialPeople.from_frame(frame, person="person", start="start", exit="exit", event="event", **options)


def small(**columns: object) -> pd.DataFrame:
    base = {"person": [0, 1, 2, 3], "start": [None, 10, 0, 120], "exit": [50, 200, 300, 365], "event": [1, 1, 0, 0]}
    return pd.DataFrame(base | {"severity": [0.0, 1.0, 0.5, -1.0]} | columns)


def effect(frame: pd.DataFrame, *, seed: int = 1, options: CloneOptions = OPTIONS, estimand: Estimand = DIFFERENCE):
    return estimate_clone_effect(read(frame), estimand, options=options, rng=np.random.default_rng(seed))


def risks(people: TrialPeople, options: CloneOptions = OPTIONS, counts: np.ndarray | None = None) -> np.ndarray:
    counts = np.ones((1, len(people))) if counts is None else counts
    rows = build_start_rows(people, options)
    return compute_clone_risks(people, options, rows, counts, days=np.array([options.horizon_days]))[:, :, 0]


def test_the_table_has_the_seven_components_side_by_side():
    table = build_trial_table(TRIAL, replace(EMULATION, assumptions=""))
    assert table["component"].tolist() == [
        "Eligibility criteria", "Treatment strategies", "Assignment procedures", "Follow-up period", "Outcome",
        "Causal contrast of interest", "Analysis plan",
    ]  # fmt: skip
    rows = build_trial_table(TRIAL, EMULATION).set_index("component")
    assert rows.loc["Treatment strategies", "target"].startswith("(1) Join the alliance; (2) Usual care. To be started")
    assert rows.loc["Assignment procedures", "emulation"] == EMULATION.assignment
    assert rows.loc["Identifying assumptions"].tolist() == [
        "Not needed: ensured by randomisation", "No unmeasured confounding.",
    ]  # fmt: skip


def test_an_incomplete_protocol_is_refused_with_all_faults():
    poor = replace(TRIAL, eligibility=" ", strategies=("Join",), grace_period_days=400)
    with pytest.raises(ParameterError) as caught:
        build_trial_table(poor, EMULATION)
    assert len(caught.value.faults) == 4
    with pytest.raises(ParameterError, match="as many as each other"):
        build_trial_table(TRIAL, replace(EMULATION, strategies=("a", "b", "c")))


def test_options_follow_from_the_protocol():
    options = derive_clone_options(TRIAL, base=replace(OPTIONS, interval_days=10))
    assert (options.grace_days, options.horizon_days, options.interval_days) == (90.0, 365.0, 10)
    assert derive_clone_options(replace(TRIAL, causal_contrast="intention_to_treat")).contrast == "intention_to_treat"


def test_clones_by_hand():
    clones = build_clones(read(small()), options=OPTIONS)
    rows = {(r.person, r.arm): (r.exit, r.event, r.deviated) for r in clones.itertuples()}
    assert rows == {
        (0, "starting"): (50, 1, False), (0, "comparison"): (50, 1, False),  # event before anybody must choose
        (1, "starting"): (200, 1, False), (1, "comparison"): (10, 0, True),
        (2, "starting"): (300, 0, False),  # starts on day 0: never open to the comparison
        (3, "starting"): (90, 0, True), (3, "comparison"): (365, 0, False),
    }  # fmt: skip
    never = build_clones(read(small()), options=replace(OPTIONS, comparison="never_start"))
    late = never[(never["person"] == 3) & (never["arm"] == "comparison")].iloc[0]
    assert (late["exit"], late["deviated"]) == (120, True)
    intended = build_clones(read(small()), options=replace(OPTIONS, contrast="intention_to_treat"))
    assert intended.groupby("arm")["person"].apply(list).to_dict() == {"comparison": [0, 1, 3], "starting": [2]}
    assert not intended["deviated"].any()


def test_an_event_on_the_day_of_a_start_or_of_the_end_of_grace():
    frame = small(start=[10, None, None, None], exit=[10, 90, 91, 200], event=[1, 1, 1, 0])
    clones = build_clones(read(frame), options=OPTIONS).set_index(["person", "arm"])
    assert clones.loc[(0, "starting"), "event"] == 1
    assert clones.loc[(0, "comparison"), "event"] == 0
    assert clones.loc[(1, "starting"), "event"] == 1
    assert clones.loc[(2, "starting"), ["exit", "event"]].tolist() == [90, 0]


@pytest.mark.parametrize("start_weights", ["initiation_time", "grace_end"])
def test_without_covariates_the_comparison_is_an_ordinary_curve(start_weights):
    """Weights that depend on time alone are no weights: Aalen-Johansen of the censored clones, from statsmodels."""
    frame = draw_people(600, np.random.default_rng(5))
    frame["event"] = np.where((frame["event"] == 1) & (frame["person"] % 3 == 0), 2, frame["event"])
    people = read(frame, covariates=(), causes=("readmission", "death"))
    clones = build_clones(people, options=OPTIONS)
    mine = risks(people, replace(OPTIONS, start_weights=start_weights))[0]
    arms = ("starting", "comparison") if start_weights == "grace_end" else ("comparison",)
    for arm in arms:
        own = clones[clones["arm"] == arm]
        peer = CumIncidenceRight(own["exit"].to_numpy(), own["event"].to_numpy())
        value = peer.cinc[0][np.searchsorted(peer.times, HORIZON, side="right") - 1]
        weighted_late = arm == "starting"
        assert mine[("starting", "comparison").index(arm)] == pytest.approx(
            value, abs=1e-10 if not weighted_late else 0.02
        )


@pytest.mark.parametrize("start_weights", ["initiation_time", "grace_end"])
@pytest.mark.parametrize("contrast", ["per_protocol", "intention_to_treat"])
def test_with_one_yes_no_covariate_weights_are_direct_standardisation(start_weights, contrast):
    """Everybody chooses on one day and nobody is lost: risks are means over strata of the arm's share, exactly."""
    rng = np.random.default_rng(13)
    ill = rng.random(800) < 0.4
    starts = rng.random(800) < np.where(ill, 0.6, 0.3)
    event = rng.random(800) < np.where(ill, 0.5, 0.2) - 0.1 * starts
    frame = pd.DataFrame({
        "person": np.arange(800), "severity": ill.astype(int), "start": np.where(starts, 0.0, np.nan),
        "exit": np.where(event, 100 + rng.integers(0, 200, 800), HORIZON), "event": event.astype(int),
    })  # fmt: skip
    if contrast == "per_protocol":
        frame["start"] += 5.0
    options = replace(OPTIONS, contrast=contrast, start_weights=start_weights, grace_days=5.0, interval_days=5.0)
    found = risks(read(frame), options)[0]
    shares = frame.groupby(["severity", starts])["event"].mean()
    weight = frame["severity"].value_counts(normalize=True)
    for k, side in enumerate((True, False)):
        assert found[k] == pytest.approx(sum(weight[x] * shares[(x, side)] for x in (0, 1)), abs=1e-9)


def test_weights_restore_who_was_there_at_the_start():
    """Weighted clones still followed at the end of the grace period have the severity of all who are."""
    rng = np.random.default_rng(2)
    severity = draw_severity(6000, rng)
    start = draw_start(severity, rng)
    frame = pd.DataFrame({
        "person": np.arange(6000), "severity": severity, "start": np.where(start <= HORIZON, start, np.nan),
        "exit": HORIZON, "event": 0,
    })  # fmt: skip
    people = read(frame)
    found = estimate_censoring_weights(people, options=OPTIONS)
    everybody = people.covariates[:, 0].mean()
    for starts in (True, False):
        stay = (people.start <= GRACE) == starts
        weights = compute_clone_weights(people, OPTIONS, found, starts=starts, day=GRACE + 1)[0]
        own = people.covariates[stay, 0]
        assert abs(own.mean() - everybody) > 0.15
        assert np.average(own, weights=weights[stay]) == pytest.approx(everybody, abs=0.06)
        # Stabilised weights of the comparison vary about 1; starters stand for everybody.
        mean = weights[stay].mean() * (stay.mean() if starts else 1.0)
        assert mean == pytest.approx(1.0, abs=0.06)


def test_drawing_a_person_twice_is_having_them_twice():
    frame = draw_people(400, np.random.default_rng(3))
    counts = np.random.default_rng(1).integers(0, 3, (1, 400))
    repeated = frame.loc[np.repeat(np.arange(400), counts[0])].reset_index(drop=True)
    repeated["person"] = np.arange(len(repeated))
    assert risks(read(frame), counts=counts)[0] == pytest.approx(risks(read(repeated))[0], abs=1e-9)


def test_units_and_order_do_not_matter():
    frame = draw_people(500, np.random.default_rng(4))
    plain = risks(read(frame))[0]
    weeks = frame.assign(start=frame["start"] / 7, exit=frame["exit"] / 7, severity=3 - 10 * frame["severity"])
    options = replace(OPTIONS, grace_days=GRACE / 7, horizon_days=HORIZON / 7, interval_days=1.0)
    assert risks(read(weeks.iloc[::-1]), options)[0] == pytest.approx(plain, abs=1e-9)


def test_covariates_that_vary_but_do_not_change_are_baseline_ones():
    frame = draw_people(500, np.random.default_rng(4))
    long = pd.concat([frame[["person", "severity"]].assign(day=day) for day in (-5, 20, 60)])
    both = read(frame, covariates=(), varying=long.sample(frac=1, random_state=1), varying_covariates=("severity",))
    assert risks(both)[0] == pytest.approx(risks(read(frame))[0], abs=1e-9)


def test_values_that_vary_hold_until_the_next():
    long = pd.DataFrame({"person": [0, 0, 1, 2, 3], "day": [0, 30, -1, 0, 0], "x": [1.0, 2.0, 5.0, 6.0, 7.0]})
    people = read(small(), varying=long, varying_covariates=("x",))
    assert people.compute_varying_at(np.array([0.0, 29.0, 30.0]))[:2, :, 0].tolist() == [[1, 1, 2], [5, 5, 5]]


def test_weights_are_cut_where_told():
    people = read(draw_people(1500, np.random.default_rng(6)))
    found = estimate_censoring_weights(people, options=OPTIONS)
    cut = replace(OPTIONS, largest_weight=1.2)
    stay = people.start > GRACE
    plain = compute_clone_weights(people, OPTIONS, found, starts=False, day=100.0)[0, stay]
    assert plain.max() > 1.2
    assert compute_clone_weights(people, cut, found, starts=False, day=100.0)[0, stay] == pytest.approx(
        np.minimum(plain, 1.2)
    )
    told = {c.name: c for c in effect(draw_people(1500, np.random.default_rng(6)), options=cut).checks}
    assert told["weights_cut_comparison"].value > 0.01


def test_the_effect_and_its_checks():
    frame = draw_people(900, np.random.default_rng(7))
    found = effect(frame)
    assert found.lower < found.value < found.upper
    assert found.value == pytest.approx(-np.subtract(*risks(read(frame))[0][::-1]))
    assert found.n_people == 900
    assert {c.name for c in found.checks} == {"adherence", "effective_sample_starting", "effective_sample_comparison"}
    ratio = effect(frame, estimand=replace(DIFFERENCE, scale="risk_ratio"))
    one, nought = risks(read(frame))[0]
    assert ratio.value == pytest.approx(one / nought)
    assert np.log(ratio.upper / ratio.lower) / 2 / 1.959964 == pytest.approx(ratio.se, rel=1e-5)
    again = effect(frame)
    assert again == found


def test_curves_end_where_the_effect_is():
    frame = draw_people(900, np.random.default_rng(7))
    curves = estimate_clone_curves(
        read(frame), days=np.array([0.0, 30.0, 180.0, HORIZON]), options=OPTIONS, rng=np.random.default_rng(1)
    )
    last = curves[(curves["day"] == HORIZON)].set_index("series")
    found = effect(frame)
    assert last.loc["difference", "value"] == pytest.approx(found.value)
    assert last.loc["difference", "se"] == pytest.approx(found.se)
    assert (curves.loc[curves["day"] == 0, ["value", "se"]] == 0).all().all()
    assert (curves[curves["series"] != "difference"].groupby("series")["value"].diff().dropna() >= 0).all()


def test_weighted_follow_up_of_clones_gives_the_same_risks():
    """Product of 1 - events over people at risk, from the rows of `build_clone_follow_up`."""
    people = read(draw_people(1200, np.random.default_rng(9)))
    found = estimate_censoring_weights(people, options=OPTIONS)
    rows = build_clone_follow_up(people, found, options=OPTIONS)
    assert len(np.unique(rows.cluster)) == 1200
    expected = risks(people)[0]
    for arm, value in ((1.0, expected[0]), (0.0, expected[1])):
        own = rows.select(rows.covariates[:, 0] == arm)
        free = 1.0
        for day in np.unique(own.exit[own.event == 1]):
            at_risk = (own.entry < day) & (day <= own.exit)
            now = at_risk & (own.exit == day) & (own.event == 1)
            free *= 1 - own.weights[now].sum() / own.weights[at_risk].sum()
        assert 1 - free == pytest.approx(value, abs=0.004)


def test_intention_to_treat_groups_by_day_zero():
    frame = draw_people(1500, np.random.default_rng(11))
    frame["start"] = np.where(np.random.default_rng(0).random(1500) < 0.4, 0.0, frame["start"])
    found = effect(frame, options=replace(OPTIONS, contrast="intention_to_treat"))
    assert found.estimator == "clone_censor_weight_intention_to_treat"
    one, nought = risks(read(frame, covariates=()), replace(OPTIONS, contrast="intention_to_treat"))[0]
    for side, value in ((frame["start"] == 0, one), (frame["start"] != 0, nought)):
        own = frame[side]
        peer = CumIncidenceRight(own["exit"].to_numpy(), own["event"].to_numpy())
        assert value == pytest.approx(peer.cinc[0][np.searchsorted(peer.times, HORIZON, side="right") - 1], abs=1e-10)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"start": [None, -5, 0, 10]}, "start before time zero"),
        ({"exit": [0, 200, 300, 365]}, "at or before entry"),
        ({"start": [None, 250, 0, 10]}, "after the end of their follow-up"),
        ({"person": [0, 0, 1, 2]}, "have another row"),
        ({"event": [0, 1, 2, 0]}, "another code"),
        ({"severity": [0.0, None, 1.0, 1.0]}, "missing"),
    ],
)
def test_people_that_cannot_be_are_named_and_not_shown(columns, said):
    with pytest.raises(ParameterError, match=said) as caught:
        read(small(**columns))
    assert "fewer than 10" in str(caught.value)


def test_varying_rows_that_cannot_be_are_named():
    good = pd.DataFrame({"person": [0, 1, 2, 3], "day": 0, "x": 1.0})
    for long, said in (
        (good.assign(person=[0, 1, 2, 9]), "nobody among the people"),
        (good.assign(day=[0, 0, 0, 5]), "no value at time zero"),
        (pd.concat([good, good.iloc[:1]]), "second value on a day"),
    ):
        with pytest.raises(ParameterError, match=said):
            read(small(), varying=long, varying_covariates=("x",))
    with pytest.raises(ParameterError, match="no columns are named"):
        read(small(), varying=good)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"grace_days": 365.0}, "as long as the follow-up"),
        ({"grace_days": 400.0}, "as long as the follow-up"),
        ({"interval_days": 0.0}, "interval_days"),
        ({"contrast": "as_treated"}, "per_protocol or intention_to_treat"),
        ({"replicates": 10}, "100 or more"),
        ({"largest_weight": 0.5}, "above 1"),
        ({"time_degree": -1}, "time_degree"),
    ],
)
def test_options_that_do_not_fit_are_named(options, said):
    with pytest.raises(ParameterError, match=said):
        effect(draw_people(100, np.random.default_rng(0)), options=replace(OPTIONS, **options))


def test_what_the_data_cannot_tell_is_refused():
    frame = draw_people(300, np.random.default_rng(0))
    with pytest.raises(NotEstimable, match="nobody"):
        effect(frame.assign(start=np.nan))
    with pytest.raises(NotEstimable, match="followed without starting"):
        effect(frame.assign(start=np.minimum(frame["exit"] / 2, 5.0)))
    with pytest.raises(NotEstimable, match="Got fewer than 10") as caught:
        effect(frame.assign(event=(frame["event"] == 1) & (frame["person"] < 20)))
    assert "events" in caught.value.reason
    with pytest.raises(NotEstimable, match="followed to the horizon"):
        effect(frame.assign(exit=np.minimum(frame["exit"], 300), start=frame["start"].where(frame["start"] < 300)))
    with pytest.raises(NotEstimable, match="compare per protocol"):
        effect(frame, options=replace(OPTIONS, contrast="intention_to_treat"))
    with pytest.raises(ParameterError, match="risk_difference or risk_ratio"):
        effect(frame, estimand=replace(DIFFERENCE, scale="hazard_ratio"))
    with pytest.raises(ParameterError, match="ATE"):
        effect(frame, estimand=replace(DIFFERENCE, contrast="ATT"))
    with pytest.raises(ParameterError, match="0 to 365"):
        estimate_clone_curves(read(frame), days=np.array([400.0]), options=OPTIONS, rng=np.random.default_rng(0))


def test_a_covariate_that_separates_or_repeats_is_named():
    frame = draw_people(400, np.random.default_rng(0))
    frame["consent"] = (frame["start"] <= GRACE).astype(float)
    with pytest.raises(NotEstimable, match="consent"):
        estimate_clone_effect(
            read(frame, covariates=("severity", "consent")), DIFFERENCE, options=OPTIONS, rng=np.random.default_rng(0)
        )
    frame["again"] = 2 * frame["severity"] + 1
    with pytest.raises(NotEstimable, match="again"):
        estimate_clone_effect(
            read(frame, covariates=("severity", "again")), DIFFERENCE, options=OPTIONS, rng=np.random.default_rng(0)
        )


def test_chances_at_the_end_of_grace_take_no_varying_covariates():
    frame = draw_people(300, np.random.default_rng(4))
    people = read(frame, varying=frame[["person", "severity"]].assign(day=0, x=1.0), varying_covariates=("severity",))
    with pytest.raises(NotEstimable, match="initiation_time"):
        estimate_censoring_weights(people, options=replace(OPTIONS, start_weights="grace_end"))


def test_a_protocol_with_a_pathway_tells_its_trial():
    protocol = load_protocol(Path(__file__).parents[2] / "protocols" / "ipsa.toml")
    table = build_trial_table(*derive_trials(protocol)).set_index("component")
    assert len(table) == 8
    assert "1 April 2015" in table.loc["Follow-up period", "emulation"]
    assert "Croydon" in table.loc["Treatment strategies", "emulation"]
    assert "365 days" in table.loc["Eligibility criteria", "target"]
    with pytest.raises(ParameterError, match="no pathway"):
        derive_trials(protocol.model_copy(update={"pathway": None}))
