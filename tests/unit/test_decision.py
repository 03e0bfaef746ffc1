"""Net benefit, decision curves and threshold tables: by hand, errors against changes of weights, refusals, cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.result import Results
from evalkit.risk.decision import compute_difference, compute_net_benefit, estimate_decision_curve
from evalkit.risk.decision_cells import net_benefit_cells, threshold_cells
from evalkit.risk.decision_time import (
    SurvivalDecisionOptions,
    compute_net_benefit_survival,
    estimate_decision_curve_survival,
)
from evalkit.risk.threshold_table import compute_threshold_table
from evalkit.risk.validate import wilson_interval

# 20 discharges at 0.2, of whom 4 came back, and 20 at 0.6, of whom 12 did.
RISK = np.repeat([0.2, 0.6], 20)
OUTCOME = np.concatenate([np.arange(20) < 4, np.arange(20) < 12]).astype(int)
PEOPLE = np.arange(40)
GRID = (0.1, 0.3, 0.5)


def draw(n: int = 400, *, seed: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Risks that are right, outcomes, and people with about two discharges each."""
    rng = np.random.default_rng(seed)
    risk = 1 / (1 + np.exp(1.2 - rng.normal(size=n)))
    return risk, (rng.random(n) < risk).astype(int), rng.integers(0, n // 2, n)


def follow(event: np.ndarray, days: np.ndarray, causes: tuple[str, ...] = ("readmission",)) -> FollowUp:
    frame = pd.DataFrame({"event": event, "days": days.astype(float)})
    return FollowUp.from_frame(frame, exit="days", event="event", causes=causes)


# ---- net benefit ---------------------------------------------------------------------------------


def test_net_benefit_by_hand():
    found = compute_net_benefit(RISK, OUTCOME, thresholds=GRID)
    # All flagged at 0.1; the 20 at 0.6 above: 12 rightly, 8 in vain.
    expected = [16 / 40 - 24 / 40 / 9, 12 / 40 - 8 / 40 * 3 / 7, 12 / 40 - 8 / 40]
    assert found.net_benefit[0, 0] == pytest.approx(expected, abs=1e-15)
    assert found.treat_all[0] == pytest.approx([16 / 40 - 24 / 40 / 9, 0.4 - 0.6 * 3 / 7, -0.2], abs=1e-15)
    assert found.standardised[0, 0] == pytest.approx(np.array(expected) / 0.4, abs=1e-15)
    # Of 100, 50 are left alone, 10 of them wrongly, each as dear as one of the threshold's odds.
    assert found.avoided_per_100[0, 0] == pytest.approx([0, 40 - 10 * 7 / 3, 40 - 10], abs=1e-12)


def test_who_stands_on_a_threshold_is_flagged_and_a_risk_of_zero_never():
    risk = np.where(RISK == 0.2, 0.0, 0.6)
    found = compute_net_benefit(risk, OUTCOME, thresholds=(0.0, 0.6, 0.61))
    assert found.net_benefit[0, 0] == pytest.approx([0.3, 0.3 - 0.2 * 1.5, 0.0], abs=1e-9)
    assert np.isnan(
        estimate_decision_curve(risk, OUTCOME, person=PEOPLE, thresholds=(0.0,)).frame["avoided_per_100"][0]
    )


def test_replicates_are_weights_of_discharges():
    rng = np.random.default_rng(1)
    risk, outcome, _ = draw()
    counts = rng.poisson(1.0, (3, len(risk)))
    found = compute_net_benefit({"a": risk, "b": risk**2}, outcome, thresholds=GRID, counts=counts, prevalence=0.2)
    for b, row in enumerate(counts):
        again = np.repeat(np.arange(len(risk)), row)
        alone = compute_net_benefit(risk[again] ** 2, outcome[again], thresholds=GRID, prevalence=0.2)
        assert found.net_benefit[b, 1] == pytest.approx(alone.net_benefit[0, 0], abs=1e-12)


def test_a_draw_without_anybody_or_any_event_is_undefined():
    counts = np.stack([np.zeros(40), 1.0 - OUTCOME, np.ones(40)])
    found = compute_net_benefit(RISK, OUTCOME, thresholds=(0.0, 0.3), counts=counts)
    assert np.isnan(found.net_benefit[0]).all() and np.isnan(found.standardised[:2]).all()
    assert np.isfinite(found.net_benefit[1:]).all() and np.isfinite(found.standardised[2]).all()
    assert np.isnan(found.avoided_per_100[..., 0]).all() and np.isfinite(found.avoided_per_100[1:, :, 1]).all()


def test_the_sample_share_as_prevalence_changes_nothing():
    risk, outcome, _ = draw()
    plain = compute_net_benefit(risk, outcome, thresholds=GRID)
    told = compute_net_benefit(risk, outcome, thresholds=GRID, prevalence=outcome.mean())
    assert told.net_benefit == pytest.approx(plain.net_benefit, abs=1e-14)


@pytest.mark.parametrize("prevalence", [None, 0.1])
def test_errors_are_those_of_small_changes_of_weights(prevalence):
    risk, outcome, _ = draw(300)
    step = 1e-5
    bumped = 1 + step * np.eye(len(risk))
    arguments = {"thresholds": GRID, "prevalence": prevalence}
    moved = compute_net_benefit(risk, outcome, counts=bumped, **arguments)
    base = compute_net_benefit(risk, outcome, **arguments)
    n = len(risk)
    frame = estimate_decision_curve(risk, outcome, person=np.arange(n), **arguments).frame
    for kind in ("net_benefit", "standardised", "avoided_per_100"):
        slope = (getattr(moved, kind)[:, 0] - getattr(base, kind)[0, 0]) / step
        error = np.sqrt(n / (n - 1) * (slope**2).sum(axis=0))
        found = frame.loc[frame["strategy"] == "model", f"{kind}_se"].to_numpy()
        assert found[1:] == pytest.approx(error[1:], rel=1e-3)


def test_discharges_of_one_person_are_tied():
    risk, outcome, _ = draw(200)
    twice = np.tile(np.arange(200), 2)
    alone = estimate_decision_curve(risk, outcome, person=np.arange(200), thresholds=GRID)
    tied = estimate_decision_curve(risk[twice], outcome[twice], person=twice, thresholds=GRID)
    apart = estimate_decision_curve(risk[twice], outcome[twice], person=np.arange(400), thresholds=GRID)
    column = "net_benefit_se"
    assert tied.frame[column].to_numpy() == pytest.approx(alone.frame[column].to_numpy(), rel=1e-9)
    assert apart.frame[column].to_numpy() * np.sqrt(2) == pytest.approx(alone.frame[column].to_numpy(), rel=0.01)


def test_difference_between_strategies():
    risk, outcome, person = draw()
    risks = {"good": risk, "flat": np.full(len(risk), 0.2)}
    curve = estimate_decision_curve(risks, outcome, person=person, thresholds=GRID)
    one, other = compute_difference(curve, "good", "all"), compute_difference(curve, "all", "good")
    assert one["difference"].to_numpy() == pytest.approx(-other["difference"].to_numpy(), abs=1e-15)
    assert one["difference_se"].to_numpy() == pytest.approx(other["difference_se"].to_numpy(), rel=1e-12)
    good = curve.frame[curve.frame["strategy"] == "good"].reset_index(drop=True)
    assert one["difference"].to_numpy() == pytest.approx(good["gain_over_all"].to_numpy(), abs=1e-15)
    alone = compute_difference(curve, "good", "none")
    assert alone["difference_lower"].to_numpy() == pytest.approx(good["net_benefit_lower"].to_numpy(), abs=1e-12)
    same = compute_difference(curve, "flat", "all").iloc[0]  # at 0.1 both flag everybody
    assert same["difference"] == pytest.approx(0, abs=1e-15) and np.isnan(same["difference_se"])
    with pytest.raises(ParameterError, match='Did you mean "good"'):
        compute_difference(curve, "goood", "all")


def test_no_interval_where_few_are_flagged():
    risk, outcome, person = draw()
    highest = np.sort(risk)[-5]
    curve = estimate_decision_curve(risk, outcome, person=person, thresholds=(0.2, float(highest)))
    model = curve.frame[curve.frame["strategy"] == "model"].reset_index(drop=True)
    assert np.isfinite(model["net_benefit"]).all()
    assert np.isfinite(model["net_benefit_lower"][0]) and np.isnan(model["net_benefit_lower"][1])
    assert curve.checks[0].passed is False and "Fewer than 10 people" in curve.checks[0].text


WRONG = {
    "risk above 1": ({"risk": RISK + 0.5}, "below 0 or above 1"),
    "risk below 0": ({"risk": RISK - 0.5}, "below 0 or above 1"),
    "risk missing": ({"risk": np.where(RISK == 0.2, np.nan, RISK)}, "missing"),
    "risk of other length": ({"risk": RISK[:-1]}, "one shape"),
    "no model": ({"risk": {}}, "no model"),
    "model called all": ({"risk": {"all": RISK}}, 'cannot be called "all"'),
    "outcome of 2": ({"outcome": OUTCOME * 2}, "other values"),
    "threshold 1": ({"thresholds": (0.5, 1.0)}, "1 or above"),
    "threshold below 0": ({"thresholds": (-0.1, 0.5)}, "below 0"),
    "threshold missing": ({"thresholds": (np.nan,)}, "missing"),
    "thresholds in disorder": ({"thresholds": (0.5, 0.1)}, "not in order"),
    "no threshold": ({"thresholds": ()}, "no list of numbers"),
    "prevalence of 0": ({"prevalence": 0.0}, "prevalence"),
    "prevalence of 1": ({"prevalence": 1.0}, "prevalence"),
    "prevalence in percent": ({"prevalence": 15}, "prevalence"),
    "prevalence missing": ({"prevalence": np.nan}, "prevalence"),
    "person missing": ({"person": np.array([None, *range(39)], dtype=object)}, "person"),
    "person of other length": ({"person": PEOPLE[:-1]}, "person"),
    "level": ({"level": 95}, "level"),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_malformed_arguments_are_refused(change, words):
    arguments = {"risk": RISK, "outcome": OUTCOME, "person": PEOPLE, "thresholds": GRID} | change
    risk, outcome = arguments.pop("risk"), arguments.pop("outcome")
    with pytest.raises(ParameterError, match=words):
        estimate_decision_curve(risk, outcome, **arguments)


def test_all_faults_are_told_at_once():
    with pytest.raises(ParameterError) as caught:
        compute_net_benefit(RISK + 1, OUTCOME, thresholds=(2.0,), prevalence=3.0)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("events", [0, 9, 31, 40])
def test_one_class_or_few_events_are_refused(events):
    outcome = (np.arange(40) < events).astype(int)
    for call in (
        lambda: compute_net_benefit(RISK, outcome, thresholds=GRID),
        lambda: compute_threshold_table(RISK, outcome, person=PEOPLE, thresholds=GRID),
    ):
        with pytest.raises(NotEstimable, match="fewer than 10"):
            call()


# ---- thresholds in people ------------------------------------------------------------------------


def test_threshold_table_by_hand():
    table = compute_threshold_table(RISK, OUTCOME, person=PEOPLE, thresholds=[0.5], flagged_shares=[0.25])
    risk, share = table.frame.to_dict("records")
    assert (risk["flagged_per_100"], risk["came_back_of_100_flagged"], risk["found_of_100"]) == (50, 60, 75)
    assert risk["alarms_per_found"] == pytest.approx(8 / 12)
    assert (risk["flagged_people"], risk["flagged_events"]) == (20, 12)
    # Each row is a person, so that the interval is Wilson's, up to the n / (n - 1) of the variance.
    low, high = wilson_interval(np.array([12.0]), np.array([20.0]), level=0.95)
    assert risk["came_back_of_100_flagged_lower"] == pytest.approx(100 * low[0], rel=0.02)
    assert risk["came_back_of_100_flagged_upper"] == pytest.approx(100 * high[0], rel=0.02)
    ends = risk["came_back_of_100_flagged_upper"] / 100, risk["came_back_of_100_flagged_lower"] / 100
    alarms = risk["alarms_per_found_lower"], risk["alarms_per_found_upper"]
    assert alarms == pytest.approx([(1 - end) / end for end in ends])
    # A quarter of all is half of those on 0.6, at random: 6 of its 10 come back, of 16 in all.
    assert share["cut"] == 0.6 and share["tied"] == 0.5
    assert share["flagged_per_100"] == pytest.approx(25) and share["came_back_of_100_flagged"] == pytest.approx(60)
    assert share["found_of_100"] == pytest.approx(37.5)
    assert not table.checks[1].passed and "at random" in table.checks[1].text


def test_share_flags_as_many_as_it_says():
    risk, outcome, person = draw()
    table = compute_threshold_table(risk, outcome, person=person, flagged_shares=[0.1]).frame.iloc[0]
    first = np.argsort(-risk)[:40]
    assert table["flagged_per_100"] == pytest.approx(10) and table["cut"] == risk[first].min()
    assert table["came_back_of_100_flagged"] == pytest.approx(100 * outcome[first].mean())
    assert table["found_of_100"] == pytest.approx(100 * outcome[first].sum() / outcome.sum())


def test_a_share_of_equal_risks_finds_its_share_and_says_no_more():
    _, outcome, person = draw()
    row = compute_threshold_table(np.full(400, 0.3), outcome, person=person, flagged_shares=[0.2]).frame.iloc[0]
    assert row["found_of_100"] == pytest.approx(20) and np.isnan(row["found_of_100_lower"])
    assert row["came_back_of_100_flagged"] == pytest.approx(100 * outcome.mean())
    assert row["came_back_of_100_flagged_lower"] < 100 * outcome.mean() < row["came_back_of_100_flagged_upper"]


def test_where_nobody_flagged_came_back_alarms_have_no_number():
    row = compute_threshold_table(0.9 - 0.8 * OUTCOME, OUTCOME, person=PEOPLE, thresholds=[0.5]).frame.iloc[0]
    assert row["came_back_of_100_flagged"] == 0 and 0 < row["came_back_of_100_flagged_upper"] < 20
    assert np.isnan(row[["alarms_per_found", "alarms_per_found_lower", "alarms_per_found_upper"]].astype(float)).all()
    assert row["reason"] == "Nobody who is flagged came back."


def test_table_says_why_a_number_is_not_given():
    risk, outcome, person = draw()
    high = float(np.sort(risk)[-4])
    rows = compute_threshold_table(risk, outcome, person=person, thresholds=[0.0, high, 0.999]).frame
    assert rows["reason"].tolist() == ["", *["Fewer than 10 people are flagged."] * 2]
    assert np.isnan(rows["came_back_of_100_flagged"][1:]).all() and np.isnan(rows["alarms_per_found"][1:]).all()
    assert rows["flagged_per_100"][0] == 100 and rows["found_of_100_upper"][0] == pytest.approx(100)
    assert rows["flagged_per_100"][2] == 0 and 0 <= rows["flagged_per_100_lower"][2] < rows["flagged_per_100_upper"][2]
    ends = rows.filter(regex="per_100_|of_100_.*er$").to_numpy()
    assert np.nanmin(ends) >= 0 and np.nanmax(ends) <= 100


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({}, "one rule or more"),
        ({"flagged_shares": [0.0]}, "flag nobody"),
        ({"flagged_shares": [1.0]}, "flagged_shares"),
        ({"flagged_shares": [0.2, 0.1]}, "not in order"),
        ({"thresholds": [1.0]}, "thresholds"),
    ],
)
def test_rules_without_sense_are_refused(rules, words):
    with pytest.raises(ParameterError, match=words):
        compute_threshold_table(RISK, OUTCOME, person=PEOPLE, **rules)


@pytest.mark.slow
def test_share_intervals_cover_what_the_share_would_find():
    """Of 300 samples; the Monte Carlo error of 95% is 1.3 points."""
    rng = np.random.default_rng(11)
    held = []
    big = 1 / (1 + np.exp(2 - rng.normal(size=400_000)))
    cut = np.quantile(big, 0.9)
    truth = 100 * big[big >= cut].mean(), 100 * big[big >= cut].sum() / big.sum()
    for _ in range(300):
        risk = 1 / (1 + np.exp(2 - rng.normal(size=1500)))
        outcome = (rng.random(1500) < risk).astype(int)
        row = compute_threshold_table(risk, outcome, person=np.arange(1500), flagged_shares=[0.1]).frame.iloc[0]
        names = "came_back_of_100_flagged", "found_of_100"
        held.append([row[f"{k}_lower"] <= value <= row[f"{k}_upper"] for k, value in zip(names, truth, strict=True)])
    assert (np.abs(np.mean(held, axis=0) - 0.95) < 0.04).all()


# ---- under censoring -----------------------------------------------------------------------------


def test_without_censoring_it_is_the_plain_net_benefit():
    risk, outcome, _ = draw()
    rng = np.random.default_rng(2)
    days = np.where(outcome == 1, rng.integers(1, 30, len(risk)), 30)
    plain = compute_net_benefit(risk, outcome, thresholds=GRID)
    alone = compute_net_benefit_survival(risk, follow(outcome, days), horizon=30.0, thresholds=GRID)
    # Some of the rest die first: they have not come back.
    dead = np.where((outcome == 0) & (rng.random(len(risk)) < 0.3), 2, outcome)
    competing = follow(dead, np.where(dead == 2, 7, days), ("readmission", "death"))
    both = compute_net_benefit_survival(risk, competing, horizon=30.0, thresholds=GRID)
    for found in (alone, both):
        assert found.net_benefit == pytest.approx(plain.net_benefit, abs=1e-12)
        assert found.treat_all == pytest.approx(plain.treat_all, abs=1e-12)


def test_draws_of_people_give_the_errors_of_influence_without_censoring():
    risk, outcome, _ = draw(800)
    days = np.where(outcome == 1, 10, 30)
    options = SurvivalDecisionOptions(replicates=400)
    drawn = estimate_decision_curve_survival(
        risk, follow(outcome, days), horizon=30.0, thresholds=GRID, rng=np.random.default_rng(3), options=options
    )
    plain = estimate_decision_curve(risk, outcome, person=np.arange(800), thresholds=GRID)
    for column in ("net_benefit_se", "avoided_per_100_se", "standardised_se"):
        ours, theirs = drawn.frame[column].to_numpy(), plain.frame[column].to_numpy()
        assert ours == pytest.approx(theirs, rel=0.15, nan_ok=True)


def test_a_curve_is_not_drawn_on_where_nobody_flagged_is_followed():
    risk = np.repeat([0.1, 0.6], 40)
    event = np.tile((np.arange(40) < 12).astype(int), 2)
    days = np.where(event == 1, 5, np.repeat([30, 20], 40))
    found = compute_net_benefit_survival(risk, follow(event, days), horizon=30.0, thresholds=(0.05, 0.5, 0.9))
    assert np.isfinite(found.net_benefit[0, 0, [0, 2]]).all() and found.net_benefit[0, 0, 2] == 0
    assert np.isnan(found.net_benefit[0, 0, 1])


def test_malformed_follow_up_is_refused():
    risk, outcome, _ = draw()
    rows = follow(outcome, np.where(outcome == 1, 10, 30))
    frame = pd.DataFrame({"event": outcome, "days": 30.0, "start": np.arange(400) % 2})
    late = FollowUp.from_frame(frame, entry="start", exit="days", event="event")
    for wrong, words in [
        ((risk + 1, rows, 30.0, GRID), "above 1"), ((risk[:-1], rows, 30.0, GRID), "one number a row"),
        ((risk, rows, 0.0, GRID), "not after the start"), ((risk, rows, np.nan, GRID), "horizon"),
        ((risk, late, 30.0, GRID), "different times"), ((risk, rows, 30.0, (1.0,)), "thresholds"),
    ]:  # fmt: skip
        with pytest.raises(ParameterError, match=words):
            compute_net_benefit_survival(wrong[0], wrong[1], horizon=wrong[2], thresholds=wrong[3])
    with pytest.raises(NotEstimable, match="nobody is followed"):
        compute_net_benefit_survival(risk, rows, horizon=31.0, thresholds=GRID)
    few = follow((np.arange(400) < 9).astype(int), np.where(np.arange(400) < 9, 10, 30))
    with pytest.raises(NotEstimable, match="fewer than 10"):
        compute_net_benefit_survival(risk, few, horizon=30.0, thresholds=GRID)
    with pytest.raises(ParameterError, match="random numbers"):
        estimate_decision_curve_survival(risk, rows, horizon=30.0, thresholds=GRID, rng=7)


# ---- cells ---------------------------------------------------------------------------------------


def test_cells_hold_every_number_once_and_say_why_one_is_missing():
    risk, outcome, person = draw()
    curve = estimate_decision_curve({"logistic": risk}, outcome, person=person, thresholds=(0.0, 0.2))
    cells = {(cell.row, cell.column): cell for cell in net_benefit_cells(curve)}
    assert len(cells) == 8 and cells["logistic|0.2", "net_benefit"].label == "Logistic regression, threshold 0.2"
    assert cells["all|0", "avoided_per_100"].status == "not_estimable" and cells["all|0", "avoided_per_100"].reason
    assert cells["all|0.2", "avoided_per_100"].value == 0
    assert cells["logistic|0.2", "net_benefit"].n_events == outcome.sum()
    table = compute_threshold_table(risk, outcome, person=person, thresholds=[0.2, 0.999], flagged_shares=[0.1])
    rules = {(cell.row, cell.column): cell for cell in threshold_cells(table)}
    assert {row for row, _ in rules} == {"risk|0.2", "risk|0.999", "share|0.1"}
    few = rules["risk|0.999", "came_back_of_100_flagged"]
    assert few.status == "not_estimable" and few.reason == "Fewer than 10 people are flagged."
    assert rules["risk|0.2", "flagged_per_100"].n_people == curve.n_people
    assert rules["share|0.1", "came_back_of_100_flagged"].n_people == table.frame["flagged_people"].iloc[-1]
    assert len(Results.from_cells("risk_threshold", list(rules.values()))) == 12
