"""Groups: what must not change a number, and what must change it in a known way."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from evalkit.risk.data import RiskData
from evalkit.risk.fairness import GroupEstimates, build_group_sample, estimate_group_gaps, estimate_group_performance
from evalkit.risk.fairness_threshold import FlagRule, estimate_group_threshold
from evalkit.risk.measures import compute_measures


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, RiskData]:
    rng = np.random.default_rng(1)
    n = 1500
    person = rng.integers(0, 900, n)
    risk = expit(-1.2 + rng.normal(0, 0.8, n))
    groups = pd.DataFrame({"sex": rng.choice(["f", "m"], n), "area": rng.choice(["n", "e", "s"], n)})
    outcome = (rng.random(n) < risk).astype(int)
    features = pd.DataFrame({"x": np.arange(n) % 7})
    return risk, RiskData(features, outcome, person, np.full(n, np.datetime64("2015-01-01")), groups=groups)


def performance(risk: np.ndarray, data: RiskData) -> GroupEstimates:
    return estimate_group_performance(build_group_sample(risk, data, replicates=30, rng=np.random.default_rng(4)))


def threshold(risk: np.ndarray, data: RiskData, rule: FlagRule) -> GroupEstimates:
    return estimate_group_threshold(build_group_sample(risk, data, replicates=30, rng=np.random.default_rng(4)), rule)


def numbers(found: GroupEstimates) -> np.ndarray:
    return np.stack([found.values, found.se, found.lower, found.upper])


def test_another_characteristic_changes_nothing(world):
    risk, data = world
    alone = dataclasses.replace(data, groups=data.groups[["sex"]])
    both = performance(risk, data)
    np.testing.assert_array_equal(numbers(performance(risk, alone)), numbers(both)[:, both.places("sex")])


def test_names_of_levels_change_nothing(world):
    risk, data = world
    renamed = dataclasses.replace(data, groups=data.groups.replace({"f": "1 women", "m": "2 men"}))
    np.testing.assert_array_equal(numbers(performance(risk, renamed)), numbers(performance(risk, data)))


def test_order_of_rows_changes_no_value(world):
    risk, data = world
    order = np.random.default_rng(2).permutation(len(data))
    moved = RiskData(
        data.features.iloc[order], data.outcome[order], data.person[order], data.time[order],
        groups=data.groups.iloc[order],
    )  # fmt: skip
    here, there = performance(risk, data), performance(risk[order], moved)
    np.testing.assert_allclose(there.values, here.values, rtol=1e-7)
    for rule in (FlagRule("share", 0.15), FlagRule("risk", 0.3)):
        np.testing.assert_allclose(
            threshold(risk[order], moved, rule).values, threshold(risk, data, rule).values, rtol=1e-12
        )


def test_monotone_change_of_risks_keeps_ranks_and_shares(world):
    risk, data = world
    here, there = performance(risk, data), performance(risk**2, data)
    for name in ("auroc", "auprc"):
        j = here.names.index(name)
        np.testing.assert_allclose(there.values[:, j], here.values[:, j], rtol=1e-12)
        np.testing.assert_allclose(there.draws[:, :, j], here.draws[:, :, j], rtol=1e-12)
    one, two = (threshold(r, data, FlagRule("share", 0.2)) for r in (risk, risk**2))
    np.testing.assert_allclose(numbers(two), numbers(one), rtol=1e-12)


def test_levels_add_up_to_everybody(world):
    risk, data = world
    found = threshold(risk, data, FlagRule("share", 0.2))
    for characteristic in ("sex", "area"):
        places = found.places(characteristic)
        sizes = np.array([found.levels[i].n_discharges for i in places])
        flagged = found.values[places, found.names.index("flagged_per_100")]
        assert (sizes * flagged).sum() / sizes.sum() == pytest.approx(20, rel=1e-12)
        everybody = compute_measures(risk, data.outcome, names=["brier", "observed_expected"])
        measured = performance(risk, data)
        briers = measured.values[places, measured.names.index("brier")]
        assert (sizes * briers).sum() / sizes.sum() == pytest.approx(everybody["brier"][0], rel=1e-12)


def test_twins_of_everybody_change_no_value(world):
    risk, data = world
    twice = RiskData(
        pd.concat([data.features] * 2), np.tile(data.outcome, 2), np.tile(data.person, 2), np.tile(data.time, 2),
        groups=pd.concat([data.groups] * 2),
    )  # fmt: skip
    here, there = performance(risk, data), performance(np.tile(risk, 2), twice)
    np.testing.assert_allclose(there.values, here.values, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(there.se, here.se, rtol=1e-4, atol=1e-7)  # the same people, drawn alike


def test_turned_outcome_turns_rates(world):
    risk, data = world
    here = threshold(risk, data, FlagRule("risk", 0.25))
    # Flag where the risk of not coming back is above 0.75: those who are not flagged in the other world.
    turned = dataclasses.replace(data, outcome=1 - data.outcome)
    there = threshold(1 - risk, turned, FlagRule("risk", 0.75 + 1e-12))
    at = here.names.index
    np.testing.assert_allclose(there.values[:, at("sensitivity")], 1 - here.values[:, at("false_positive_rate")])
    np.testing.assert_allclose(there.values[:, at("ppv")], here.values[:, at("npv")])


def test_gap_does_not_depend_on_the_sign_or_order_of_levels(world):
    risk, data = world
    swapped = dataclasses.replace(data, groups=data.groups.replace({"f": "z"}))
    here = estimate_group_gaps(performance(risk, data), names=["auroc"])[0]
    there = estimate_group_gaps(performance(risk, swapped), names=["auroc"])[0]
    assert (there.value, there.lower, there.upper, there.p_value) == pytest.approx(
        (here.value, here.lower, here.upper, here.p_value), rel=1e-12
    )
