"""Simulated costs are what their settings say, and their stated truth is what a large draw shows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.cost_history import CostHistory
from evalkit.core.errors import ParameterError
from evalkit.simulate.cost_events import (
    CensoredCostSettings,
    compute_censored_cost_truth,
    simulate_censored_costs,
)
from evalkit.simulate.cost_worlds import (
    COVARIATES,
    RESOURCES,
    CostSettings,
    compute_cost_truth,
    simulate_costs,
)

MANY = 200_000
SETTINGS = {
    "plain": CostSettings(),
    "lognormal": CostSettings(noise="lognormal", trait=0.5, spread=2.0),
    "zeros": CostSettings(zeros=0.25, use_effect=-0.5),
    "prices": CostSettings(inflation=0.08, price_fall=0.2),
    "ratio": CostSettings(gap=1.0, trend=0.5, severity_trend=0.1),
    "pounds": CostSettings(gap=1.0, trend=0.5, severity_trend=0.1, trends="pounds"),
    "propensity": CostSettings(nonlinear="propensity", severity_trend=0.3),
    "outcome": CostSettings(nonlinear="outcome", severity_trend=0.1),
    "both": CostSettings(nonlinear="both", trends="pounds", trend=0.4, severity_trend=0.3),
    "recent": CostSettings(recent="everybody"),
    "recent treated": CostSettings(recent="treated"),
    "value": CostSettings(effect=0.12, days_effect=5.0, noise="lognormal"),
}


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def draw(settings: CostSettings, people: int = MANY):
    return simulate_costs(replace(settings, people=people), rng=rng())


@pytest.mark.parametrize("name", SETTINGS)
def test_the_treated_cost_what_the_truth_says(name):
    """Mean cost of the treated after, paid and by volume, within four of its errors; and so many are treated."""
    settings = SETTINGS[name]
    frame, truth = draw(settings)
    treated = frame[frame["treated"] == 1]
    assert len(treated) / MANY == pytest.approx(settings.treated_share, abs=4 * math.sqrt(0.25 / MANY))
    assert treated["after"].mean() == pytest.approx(truth["actual"], abs=4 * treated["after"].sem())
    volume = sum(treated[f"{resource}_after"] for resource in RESOURCES)
    expected = truth["volume.difference"] * truth["volume.ratio"] / (truth["volume.ratio"] - 1)
    assert volume.mean() == pytest.approx(expected, abs=4 * volume.sem())


@pytest.mark.parametrize("name", SETTINGS)
def test_the_counterfactual_is_what_the_treated_cost_without_the_service(name):
    """The same people with all effects, and the fall of prices, taken away; the same draws, so a small error."""
    settings = SETTINGS[name]
    none = replace(settings, effect=0.0, use_effect=0.0, days_effect=0.0, price_fall=0.0)
    (frame, truth), (without, nothing) = draw(settings), draw(none)
    treated = frame["treated"] == 1
    assert (frame["treated"] == without["treated"]).all()
    assert (frame[["before", "days_before"]] == without[["before", "days_before"]]).all().all()
    change = (frame["after"] - without["after"])[treated]
    assert change.mean() == pytest.approx(truth["difference"], abs=4 * change.sem())
    days = (frame["days_after"] - without["days_after"])[treated]
    assert days.mean() == pytest.approx(truth["days"], abs=1e-9)
    assert (frame.loc[~treated, "after"] == without.loc[~treated, "after"]).all()
    assert nothing["difference"] == pytest.approx(0, abs=1e-9)
    assert nothing["ratio"] == pytest.approx(1)


def test_clusters_share_a_shock_that_has_mean_one():
    settings = CostSettings(clusters=20_000, cluster_sd=0.5, cluster_pull=2.0)
    frame, truth = draw(settings)
    treated = frame[frame["treated"] == 1]
    by_cluster = treated.groupby("cluster")["after"].agg(["sum", "size"])
    error = math.sqrt(((by_cluster["sum"] - truth["actual"] * by_cluster["size"]) ** 2).sum()) / len(treated)
    assert treated["after"].mean() == pytest.approx(truth["actual"], abs=4 * error)
    few, _ = draw(replace(settings, clusters=20), 20_000)
    means = few[few["treated"] == 0].groupby("cluster")[["before", "after"]].mean()
    assert np.log(means["after"] / means["before"]).std() == pytest.approx(0.5, rel=0.4)
    assert few.groupby("cluster")["treated"].mean().std() > 0.2


def test_a_quarter_cost_nothing_and_the_service_makes_it_more():
    frame, truth = draw(SETTINGS["zeros"])
    assert (frame["before"] == 0).mean() == pytest.approx(0.25, abs=0.005)
    without, _ = draw(replace(SETTINGS["zeros"], use_effect=0.0))
    treated = frame["treated"] == 1
    change = (frame["after"] > 0)[treated].mean() - (without["after"] > 0)[treated].mean()
    assert change == pytest.approx(truth["use.difference"], abs=0.006)
    assert truth["use.difference"] < -0.05
    both = ((frame["before"] == 0) & (frame["after"] == 0)).mean()
    assert both > 1.5 * (frame["before"] == 0).mean() * (frame["after"] == 0).mean()


def test_prices_are_apart_from_volumes():
    settings = SETTINGS["prices"]
    frame, truth = draw(settings, 2000)
    treated = frame["treated"] == 1
    volume = frame["wards_before"] + frame["placements_before"]
    assert np.allclose(frame["before"], volume)
    paid = 1.08 * (frame["wards_after"] + np.where(treated, 0.8, 1.0) * frame["placements_after"])
    assert np.allclose(frame["after"], paid)
    none = compute_cost_truth(replace(settings, effect=0.0))
    assert none["volume.difference"] == pytest.approx(0, abs=1e-9)
    assert none["ratio"] == pytest.approx(0.6 + 0.4 * 0.8)  # the fall in price alone
    assert truth["ratio"] == pytest.approx(truth["volume.ratio"] * none["ratio"])


def test_worse_people_are_treated_and_cost_more():
    means = draw(CostSettings(), 20_000)[0].groupby("treated")[["severity", "before", "after"]].mean()
    assert (means.loc[1, ["severity", "before"]] > means.loc[0, ["severity", "before"]]).all()
    none = draw(CostSettings(selection=0.0), 20_000)[0].groupby("treated")["severity"].mean()
    assert none[1] == pytest.approx(none[0], abs=0.06)


def test_skew_is_as_asked():
    """Squared coefficients of variation of independent factors: (1 + a)(1 + b) - 1, given the covariates."""
    for noise in ("gamma", "lognormal"):
        settings = CostSettings(noise=noise, trait=0.5, spread=0.8, selection=0.0, effect=0.0)
        frame, _ = draw(settings)
        flat, _ = draw(replace(settings, trait=0.0, spread=0.0))
        factor = frame["before"] / flat["before"]
        assert factor.mean() == pytest.approx(1, abs=0.02)
        assert factor.var() == pytest.approx(1.5 * 1.8 - 1, rel=0.15)
        later = frame["after"] / flat["after"]
        assert np.cov(factor, later)[0, 1] == pytest.approx(0.5, rel=0.15)


def test_recent_use_falls_by_itself():
    """Chosen above the median of a passing factor: what it was before is lost after, on both sides alike."""
    both = draw(replace(SETTINGS["recent"], effect=0.0, trend=0.0))[0].groupby("treated")[["before", "after"]].mean()
    falls = both["after"] / both["before"]
    assert (falls < 0.75).all()
    assert falls[1] == pytest.approx(falls[0], abs=0.02)
    one = draw(replace(SETTINGS["recent treated"], effect=0.0, trend=0.0))[0]
    falls = one.groupby("treated")[["before", "after"]].mean().eval("after / before")
    assert falls[1] < 0.9 < 1.1 < falls[0]


def test_cost_and_days_at_home_go_against_each_other():
    frame, truth = draw(SETTINGS["value"])
    rest = frame["days_after"] - frame["days_after"].groupby(frame["treated"]).transform("mean")
    assert np.corrcoef(np.log(frame["after"]), rest)[0, 1] < -0.3
    assert truth["icer"] == pytest.approx(truth["difference"] / truth["days"])
    assert math.isnan(compute_cost_truth(CostSettings())["icer"])


def test_the_same_seed_draws_the_same_people():
    one, two = (simulate_costs(CostSettings(people=50), rng=rng(9))[0] for _ in range(2))
    assert one.equals(two)
    assert list(one.columns[:2]) == ["person", "treated"]
    assert set(COVARIATES) < set(one.columns)


def test_settings_out_of_range_are_refused_together():
    with pytest.raises(ParameterError) as refusal:
        simulate_costs(CostSettings(people=0, zeros=1.5, noise="cauchy", trait=-1.0, recent="some"), rng=rng())
    assert len(refusal.value.faults) == 5
    with pytest.raises(ParameterError) as refusal:
        simulate_censored_costs(CensoredCostSettings(people=0, deaths_per_year=0.0, period_days=900.0), rng=rng())
    assert len(refusal.value.faults) == 3


@pytest.mark.parametrize("selection", [0.0, 0.8])
def test_cost_had_nobody_moved_is_the_truth(selection):
    settings = CensoredCostSettings(people=MANY, selection=selection, moves_comparison=0.0, moves_treated=0.0)
    people, records, truth = simulate_censored_costs(settings, rng=rng())
    total = records.groupby("person")["cost"].sum()
    for side, name in ((1, "treated"), (0, "comparison")):
        own = total[people["treated"] == side]
        assert own.mean() == pytest.approx(truth[f"mean.{name}"], abs=4 * own.sem())
    assert (people["complete"] == 1).all()
    none = compute_censored_cost_truth(replace(settings, effect=0.0))
    assert none["ATT.difference"] == pytest.approx(0, abs=1e-9)
    assert truth["raw.difference"] == pytest.approx(truth["ATT.difference"]) or selection > 0


def test_who_moves_away_is_lost_and_deaths_are_not():
    settings = CensoredCostSettings(people=20_000)
    people, records, truth = simulate_censored_costs(settings, rng=rng())
    assert truth == compute_censored_cost_truth(replace(settings, moves_treated=0.0))
    lost = 1 - people.groupby("treated")["complete"].mean()
    assert lost[1] > 2 * lost[0] > 0.2
    assert (people.loc[people["complete"] == 0, "exit"] < settings.horizon_days).all()
    assert records.groupby("person")["stop"].max().equals(people.set_index("person")["exit"].rename("stop"))
    moments = records[records["start"] == records["stop"]].groupby("person").size()
    died = (people["complete"] == 1) & (people["exit"] < settings.horizon_days)
    assert (moments == 1 + died.to_numpy()).all()  # entry, and death where it was seen
    history = CostHistory.from_frames(
        people, records, person="person", follow_up="exit", complete="complete", start="start", stop="stop",
        cost="cost", group="treated",
    )  # fmt: skip
    assert len(history.follow_up_days) == 20_000
