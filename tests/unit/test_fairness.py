"""Groups: refusals, oracles, hand-worked thresholds, gaps that do not over-read, criteria that cannot hold together."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

from evalkit.core.errors import ParameterError
from evalkit.risk.fairness import (
    FOLLOWS_SIZE,
    GroupEstimates,
    compute_draw_errors,
    estimate_group_gaps,
    estimate_group_performance,
)
from evalkit.risk.fairness_cells import (
    group_cells,
)
from evalkit.risk.fairness_threshold import FlagRule, estimate_group_threshold
from evalkit.risk.measures import MEASURES, compute_measures
from evalkit.risk.resample import draw_person_counts
from tests.group_people import make_data, oracle_data, random_data, sample_of

# ---- others' numbers -----------------------------------------------------------------------------

# fairlearn 0.15.0, MetricFrame on the data of `oracle_data`, flagged where risk >= 0.6 (selection_rate,
# true_positive_rate, false_positive_rate, false_negative_rate; precision_score of scikit-learn 1.9), to 1e-12.
FAIRLEARN = {
    "a": (0.3798449612403101, 0.6944444444444444, 0.25806451612903225, 0.3055555555555556, 0.5102040816326531, 0.8625),
    "b": (
        0.38910505836575876, 0.5572519083969466, 0.21428571428571427, 0.44274809160305345, 0.73, 0.6305732484076433,
    ),
    "c": (
        0.3860103626943005, 0.5918367346938775, 0.2594142259414226, 0.40816326530612246, 0.5838926174496645,
        0.7468354430379747,
    ),
    "not recorded": (0.421875, 0.24, 0.5384615384615384, 0.76, 0.2222222222222222, 0.4864864864864865),
}  # fmt: skip
RATES = ("flagged_per_100", "sensitivity", "false_positive_rate", "false_negative_rate", "ppv", "npv")
# MetricFrame.difference(method="between_groups") of the same rates.
DIFFERENCES = (
    0.042030038759689914, 0.45444444444444443, 0.32417582417582413, 0.45444444444444443, 0.5077777777777778,
    0.37601351351351353,
)  # fmt: skip
# MetricFrame with roc_auc_score and brier_score_loss of scikit-learn 1.9.1; the difference is 0.41723424582203206.
AREAS = {"a": 0.6796594982078854, "b": 0.7468496304374167, "c": 0.7315059915179462, "not recorded": 0.32961538461538464}
BRIERS = {
    "a": 0.2458339561933642, "b": 0.20792645235517537, "c": 0.2206502667328543, "not recorded": 0.41707717962452817,
}  # fmt: skip


@pytest.fixture(scope="module")
def oracle():
    return sample_of(*oracle_data())


@pytest.mark.parametrize("level", FAIRLEARN)
@pytest.mark.parametrize("place", range(6), ids=RATES)
def test_rates_equal_fairlearn(oracle, level, place):
    found = estimate_group_threshold(oracle, FlagRule("risk", 0.6))
    scale = 100 if place == 0 else 1
    assert found.value("kind", level, RATES[place]) == pytest.approx(scale * FAIRLEARN[level][place], rel=1e-12)


@pytest.mark.parametrize("level", AREAS)
def test_measures_equal_fairlearn(oracle, level):
    found = estimate_group_performance(oracle)
    assert found.value("kind", level, "auroc") == pytest.approx(AREAS[level], rel=1e-12)
    assert found.value("kind", level, "brier") == pytest.approx(BRIERS[level], rel=1e-12)


def test_largest_gaps_equal_fairlearn(oracle):
    gaps = {g.measure: g for g in estimate_group_gaps(estimate_group_threshold(oracle, FlagRule("risk", 0.6)))}
    for name, expected in zip(RATES, DIFFERENCES, strict=True):
        assert gaps[name].value == pytest.approx((100 if name.endswith("per_100") else 1) * expected, rel=1e-12)
    area = estimate_group_gaps(estimate_group_performance(oracle), names=["auroc"])[0]
    assert area.value == pytest.approx(0.41723424582203206, rel=1e-12)
    assert (area.highest, area.lowest) == ("b", "not recorded")


def test_levels_are_in_order_and_not_recorded_is_last_and_shown(oracle):
    assert [level.name for level in oracle.levels] == ["a", "b", "c", "not recorded"]
    assert [level.n_discharges for level in oracle.levels] == [129, 257, 386, 128]
    tens = make_data(np.arange(300) % 2, {"tenth": [f"tenth {1 + i % 10}" for i in range(300)]})
    names = [level.name for level in sample_of(np.full(300, 0.5), tens).levels]
    assert names == [f"tenth {i}" for i in range(1, 11)]


def test_every_measure_is_that_of_the_level_alone(oracle):
    risk, data = oracle_data()
    found = estimate_group_performance(oracle)
    for name in ("a", "c"):
        rows = (data.groups["kind"] == name).to_numpy()
        alone = compute_measures(risk[rows], data.outcome[rows])
        for measure in MEASURES:
            assert found.value("kind", name, measure) == pytest.approx(alone[measure][0], rel=1e-7, abs=1e-9)


def test_draws_are_those_of_people_shared_by_all_levels():
    risk, data = random_data(np.random.default_rng(3), 600)
    counts = draw_person_counts(data.person, replicates=7, rng=np.random.default_rng(5))
    found = estimate_group_performance(sample_of(risk, data, replicates=7, seed=5))
    for at, level in enumerate(found.levels):
        rows = (data.groups["group"] == level.name).to_numpy()
        repeated = np.repeat(np.flatnonzero(rows), counts[3][rows])
        alone = compute_measures(risk[repeated], data.outcome[repeated])
        assert found.draws[3, at, found.names.index("auroc")] == pytest.approx(alone["auroc"][0], rel=1e-12)
        assert found.draws[3, at, found.names.index("brier")] == pytest.approx(alone["brier"][0], rel=1e-12)


# ---- small groups --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "others", "people", "what"),
    [(9, 40, 49, "with the outcome"), (40, 9, 49, "without the outcome"), (12, 12, 9, "people")],
)
def test_small_level_is_refused_by_name_and_without_a_count(events, others, people, what):
    n = events + others
    outcome = np.r_[np.repeat([1, 0], [events, others]), np.arange(200) % 2]
    person = np.r_[np.arange(n) % people, 1000 + np.arange(200)]
    data = make_data(outcome, {"ethnic_group": ["small"] * n + ["large"] * 200}, person=person)
    sample = sample_of(np.linspace(0.05, 0.9, n + 200), data)
    small = next(level for level in sample.levels if level.name == "small")
    assert 'ethnic_group "small"' in small.refusal
    assert what in small.refusal
    assert "fewer than 10" in small.refusal
    counts = (str(events), str(others), str(n), str(people))
    assert not set(counts) & set(small.refusal.replace("(", " ").split())
    found = estimate_group_performance(sample)
    at = found.levels.index(small)
    assert np.isnan(found.values[at]).all()
    assert np.isfinite(found.values[1 - at]).all()
    assert [c.passed for c in found.checks if c.name == "groups_large_enough"] == [False]
    cells = [c for c in group_cells(found) if c.row == "ethnic_group|small"]
    assert {c.status for c in cells} == {"not_estimable"}
    assert {c.reason for c in cells} == {small.refusal}
    assert all(math.isnan(c.value) and c.n_people == min(people, n) and c.n_events == events for c in cells)
    gap = estimate_group_gaps(found, names=["auroc"])[0]
    assert math.isnan(gap.value)
    assert "Fewer than two levels" in gap.reason


def test_just_large_enough_is_shown():
    outcome = np.r_[np.arange(20) % 2, np.arange(200) % 2]
    data = make_data(outcome, {"g": ["small"] * 20 + ["large"] * 200})
    assert not any(level.refusal for level in sample_of(np.linspace(0.1, 0.9, 220), data).levels)


def test_rate_with_few_people_flagged_is_refused_alone():
    outcome = np.arange(400) % 2
    risk = np.r_[np.linspace(0.1, 0.4, 195), np.full(5, 0.9), np.linspace(0.1, 0.9, 200)]
    found = estimate_group_threshold(
        sample_of(risk, make_data(outcome, {"g": ["low"] * 200 + ["high"] * 200})), FlagRule("risk", 0.5)
    )
    at, j = [level.name for level in found.levels].index("low"), found.names.index("ppv")
    assert "fewer than 10 people among its flagged discharges" in found.reasons[at, j]
    assert math.isnan(found.values[at, j])
    assert found.reasons[at, found.names.index("sensitivity")] == ""


def test_bad_input_is_named():
    risk, data = oracle_data()
    with pytest.raises(ParameterError, match="does not match"):
        sample_of(risk[:5], data)
    with pytest.raises(ParameterError, match="probabilities"):
        sample_of(risk + 1, data)
    with pytest.raises(ParameterError, match="no characteristic"):
        sample_of(risk, dataclasses.replace(data, groups=None))
    with pytest.raises(ParameterError, match='Did you mean "share"'):
        FlagRule("shares", 0.1)
    with pytest.raises(ParameterError, match="between 0 and 1"):
        FlagRule("risk", 1.0)
    with pytest.raises(ParameterError, match="unknown measure"):
        estimate_group_gaps(estimate_group_performance(sample_of(risk, data)), names=["gini"])


# ---- intervals and gaps --------------------------------------------------------------------------


def test_interval_stays_where_the_measure_can_be(oracle):
    found = estimate_group_performance(oracle, level=0.99)
    assert ((found.lower < found.values) | np.isin(found.names, FOLLOWS_SIZE)).all()
    assert (found.upper > found.values).all()
    for name in ("auroc", "auprc", "brier"):
        j = found.names.index(name)
        assert ((found.lower[:, j] > 0) & (found.upper[:, j] < 1)).all()
    j, z = found.names.index("auroc"), norm.ppf(0.995)
    value, se = found.values[0, j], found.se[0, j]
    assert found.upper[0, j] == pytest.approx(expit(logit(value) + z * se / (value * (1 - value))), rel=1e-12)


def test_fewer_measures_are_the_same_ones(oracle):
    every, some = estimate_group_performance(oracle), estimate_group_performance(oracle, names=["brier", "auroc"])
    assert some.names == ("brier", "auroc")
    for j, name in enumerate(some.names):
        np.testing.assert_array_equal(some.draws[:, :, j], every.draws[:, :, every.names.index(name)])
    with pytest.raises(ParameterError, match="names"):
        estimate_group_performance(oracle, names=["gini"])


def test_errors_of_draws():
    draws = np.random.default_rng(1).normal(size=(30, 2, 1))
    se = compute_draw_errors(draws, np.array([[11.0], [2.0]]))
    assert se[0, 0] == pytest.approx(draws[:, 0, 0].std(ddof=1) * math.sqrt(1.1))
    draws[:4, 1] = np.nan
    assert np.isnan(compute_draw_errors(draws, np.full((2, 1), 100.0))[1, 0])


def fake(values: list[float], draws: np.ndarray, sample) -> GroupEstimates:
    shape = (len(values), 1)
    found = np.array(values).reshape(shape)
    none, hundred = np.full(shape, np.nan), np.full(shape, 100.0)
    se = draws.std(axis=0, ddof=1)
    return GroupEstimates(
        sample.levels[: len(values)], ("auroc",), found, se, none, none, draws, np.full(shape, "", dtype=object),
        hundred, hundred, 0.95, (),
    )  # fmt: skip


def test_gap_of_two_levels_is_the_bootstrap_t(oracle):
    noise = np.random.default_rng(1).normal(0, [0.03, 0.04], (4000, 2))
    gap = estimate_group_gaps(fake([0.70, 0.60], (np.array([0.70, 0.60]) + noise)[..., None], oracle))[0]
    # One pair: no multiplicity, half-width 1.96 * 0.05.
    assert gap.value == pytest.approx(0.1)
    assert gap.lower == pytest.approx(0.1 - 1.96 * 0.05, abs=0.006)
    assert gap.upper == pytest.approx(0.1 + 1.96 * 0.05, abs=0.006)
    assert gap.if_equal == pytest.approx(0.05 * math.sqrt(2 / math.pi), rel=0.05)  # mean of |normal|
    assert gap.p_value == pytest.approx(0.0455, abs=0.012)  # two-sided of z = 2


def test_largest_of_many_is_not_over_read(oracle):
    rng = np.random.default_rng(7)
    within, rejected, naive, chance = 0, 0, [], []
    for _ in range(300):
        values = 0.7 + rng.normal(0, 0.03, 4)  # four levels, all alike
        draws = (values + rng.normal(0, 0.03, (200, 4)))[..., None]
        gap = estimate_group_gaps(fake(list(values), draws, oracle))[0]
        within += gap.lower == 0
        rejected += gap.p_value < 0.05
        naive.append(gap.value)
        chance.append(gap.if_equal)
    error = 3 * math.sqrt(0.05 * 0.95 / 300)
    assert abs(within / 300 - 0.95) < error
    assert abs(rejected / 300 - 0.05) < error
    # Above 0 with all levels alike, by as much as `if_equal` says: 2.06 standard errors, the range of four normals.
    assert np.mean(naive) == pytest.approx(2.06 * 0.03, rel=0.05)
    assert np.mean(chance) == pytest.approx(2.06 * 0.03, rel=0.05)


def test_true_gap_is_held_and_found():
    risk, data = random_data(np.random.default_rng(9), 8000, shift=1.0)
    found = estimate_group_performance(sample_of(risk, data, replicates=100))
    gap = estimate_group_gaps(found, names=["calibration_intercept"])[0]
    assert gap.highest == "two"
    assert gap.lower > 0
    assert gap.lower < 1.0 < gap.upper
    assert gap.p_value == pytest.approx(1 / 101)
