"""Groups: refusals, oracles, hand-worked thresholds, gaps that do not over-read, criteria that cannot hold together."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

from evalkit.core.errors import ParameterError
from evalkit.core.result import Results
from evalkit.risk.data import RiskData
from evalkit.risk.fairness import (
    FOLLOWS_SIZE,
    GroupEstimates,
    build_group_sample,
    compute_draw_errors,
    estimate_group_gaps,
    estimate_group_performance,
)
from evalkit.risk.fairness_cells import (
    group_cells,
    group_conflict_cells,
    group_curve_cells,
    group_equality_cells,
    group_gap_cells,
    group_threshold_cells,
)
from evalkit.risk.fairness_curves import fit_group_curves
from evalkit.risk.fairness_threshold import FlagRule, describe_conflicts, estimate_group_threshold
from evalkit.risk.measures import MEASURES, compute_measures
from evalkit.risk.resample import draw_person_counts
from evalkit.risk.validate import wilson_interval


def make_data(outcome: np.ndarray, groups: dict[str, object], *, person: np.ndarray | None = None) -> RiskData:
    n = len(outcome)
    return RiskData(
        features=pd.DataFrame({"x": np.arange(n) % 5}),
        outcome=outcome,
        person=np.arange(n) if person is None else person,
        time=np.full(n, np.datetime64("2014-01-01")),
        groups=pd.DataFrame(groups),
    )


def oracle_data() -> tuple[np.ndarray, RiskData]:
    """900 discharges by whole-number arithmetic, so that others' numbers can be had from the same ones."""
    i = np.arange(900)
    risk = (i * 37 % 97 + 1) / 99
    outcome = ((i * 53 % 101) / 101 < 0.15 + 0.5 * risk).astype(int)
    levels = np.array(["a", "b", "b", "c", "c", "c", None], dtype=object)[i * 11 % 7]
    return risk, make_data(outcome, {"kind": levels})


def random_data(rng: np.random.Generator, n: int = 3000, *, shift: float = 0.0) -> tuple[np.ndarray, RiskData]:
    person = rng.integers(0, n // 2, n)
    group = rng.choice(["one", "two", "three"], n // 2)[person]
    risk = expit(-1.5 + rng.normal(0, 0.8, n))
    odds = np.log(risk / (1 - risk)) + shift * (group == "two")
    return risk, make_data((rng.random(n) < expit(odds)).astype(int), {"group": group}, person=person)


def sample_of(risk: np.ndarray, data: RiskData, *, replicates: int = 50, seed: int = 1):
    return build_group_sample(risk, data, replicates=replicates, rng=np.random.default_rng(seed))


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


# ---- thresholds ----------------------------------------------------------------------------------


def test_threshold_by_hand():
    # Level a: 40 discharges, 20 came back; flagged 12 of those and 6 of the others. b: 40, 10 back; flagged 5 and 10.
    blocks = [("a", 1, 0.8, 12), ("a", 1, 0.2, 8), ("a", 0, 0.8, 6), ("a", 0, 0.2, 14),
              ("b", 1, 0.8, 5), ("b", 1, 0.2, 5), ("b", 0, 0.8, 10), ("b", 0, 0.2, 20)]  # fmt: skip
    rows = [block[:3] for block in blocks for _ in range(block[3])]
    group, outcome, risk = (np.array(column) for column in zip(*rows, strict=True))
    found = estimate_group_threshold(sample_of(risk, make_data(outcome, {"g": group})), FlagRule("risk", 0.8))
    by_hand = {
        "a": {"flagged_per_100": 45, "came_back_per_100": 50, "sensitivity": 0.6, "false_negative_rate": 0.4,
              "false_positive_rate": 0.3, "ppv": 12 / 18, "npv": 14 / 22},
        "b": {"flagged_per_100": 37.5, "came_back_per_100": 25, "sensitivity": 0.5, "false_negative_rate": 0.5,
              "false_positive_rate": 1 / 3, "ppv": 5 / 15, "npv": 20 / 25},
    }  # fmt: skip
    for level, rates in by_hand.items():
        for name, value in rates.items():
            assert found.value("g", level, name) == pytest.approx(value, rel=1e-12)
    # Counts for the gate: people below, discharges on top.
    at, j = 0, found.names.index("ppv")
    assert (found.n_people[at, j], found.n_events[at, j]) == (18, 12)
    # The share at highest risk that is flagged at 0.8 is 33 of 80: the same people.
    same = estimate_group_threshold(sample_of(risk, make_data(outcome, {"g": group})), FlagRule("share", 33 / 80))
    np.testing.assert_allclose(same.values, found.values, rtol=1e-12)
    # Of twice as few, half of those who tie are flagged.
    half = estimate_group_threshold(sample_of(risk, make_data(outcome, {"g": group})), FlagRule("share", 16.5 / 80))
    assert half.value("g", "a", "sensitivity") == pytest.approx(0.3)
    assert half.value("g", "a", "ppv") == pytest.approx(12 / 18)


def test_share_is_cut_anew_in_each_draw():
    risk, data = random_data(np.random.default_rng(4), 2000)
    sample = sample_of(risk, data, replicates=40)
    found = estimate_group_threshold(sample, FlagRule("share", 0.1))
    sizes = np.stack([sample.counts[:, level.rows].sum(axis=1) for level in sample.levels], axis=1)
    flagged = (found.draws[:, :, 0] / 100 * sizes).sum(axis=1)
    np.testing.assert_allclose(flagged, 0.1 * sizes.sum(axis=1), rtol=1e-12)


def test_interval_of_a_rate_is_wilson_of_independent_discharges():
    rng = np.random.default_rng(2)
    n = 4000
    risk = rng.uniform(0.01, 0.99, n)
    data = make_data((rng.random(n) < risk).astype(int), {"g": rng.choice(["a", "b"], n)})
    found = estimate_group_threshold(sample_of(risk, data, replicates=400), FlagRule("risk", 0.7))
    at = found.names.index("sensitivity")
    events = [int(data.outcome[(data.groups["g"] == level).to_numpy()].sum()) for level in ("a", "b")]
    low, high = wilson_interval(found.values[:, at] * events, np.array(events), level=0.95)
    # Nobody repeats, so the bootstrap's error is the binomial one but for Monte-Carlo error of 3.5%.
    width = (found.upper - found.lower)[:, at]
    np.testing.assert_allclose(width, high - low, rtol=0.12)
    assert (width >= 0.999 * (high - low)).all()  # never more discharges than there are
    # Every person twice: half as many independent ones.
    twice = make_data(np.tile(data.outcome, 2), {"g": np.tile(data.groups["g"], 2)}, person=np.tile(np.arange(n), 2))
    wide = estimate_group_threshold(sample_of(np.tile(risk, 2), twice, replicates=400), FlagRule("risk", 0.7))
    np.testing.assert_allclose((wide.upper - wide.lower)[:, at], width, rtol=0.1)


def test_nobody_flagged_has_an_interval_and_no_predictive_value():
    risk, data = oracle_data()
    found = estimate_group_threshold(sample_of(risk / 2, data), FlagRule("risk", 0.9))
    j = found.names.index("sensitivity")
    assert (found.values[:, j] == 0).all()
    assert (found.lower[:, j] == 0).all()
    assert (found.upper[:, j] > 0).all()
    assert np.isnan(found.values[:, found.names.index("ppv")]).all()


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


# ---- criteria ------------------------------------------------------------------------------------


def test_conflict_by_hand():
    # The level of 50% base rate needs 1 / (1/3) = 3 times the false positive rate of the level of 25%.
    blocks = [("a", 1, 0.8, 120), ("a", 1, 0.2, 80), ("a", 0, 0.8, 60), ("a", 0, 0.2, 140),
              ("b", 1, 0.8, 50), ("b", 1, 0.2, 50), ("b", 0, 0.8, 100), ("b", 0, 0.2, 200)]  # fmt: skip
    rows = [block[:3] for block in blocks for _ in range(block[3])]
    group, outcome, risk = (np.array(column) for column in zip(*rows, strict=True))
    sample = sample_of(risk, make_data(outcome, {"ethnic_group": group}), replicates=100)
    found = describe_conflicts(sample, estimate_group_threshold(sample, FlagRule("risk", 0.8)))[0]
    ppv, sensitivity = 170 / 330, 170 / 300
    assert found.base_rate == pytest.approx((0.5, 0.25))
    assert found.fpr_needed == pytest.approx((1 * (1 - ppv) / ppv * sensitivity, 1 / 3 * (1 - ppv) / ppv * sensitivity))
    assert found.mean_risk_events == pytest.approx(((0.8 * 120 + 0.2 * 80) / 200, 0.5))
    of_all = (0.8 * 170 + 0.2 * 130) / 300
    assert found.others_needed == pytest.approx((1 - of_all, (1 - of_all) / 3))
    assert found.differ is True
    assert 'the highest in "a"' in found.text
    assert "by ethnic group" in found.text
    assert not any(character.isdigit() for character in found.text.replace("2016", "").replace("2017", ""))


def test_equal_base_rates_are_no_conflict():
    risk, data = random_data(np.random.default_rng(11), 3000)
    sample = sample_of(risk, data, replicates=100)
    found = describe_conflicts(sample, estimate_group_threshold(sample, FlagRule("share", 0.2)))[0]
    assert found.differ is False
    assert "not found to differ" in found.text


def test_chouldechova_identity_holds_in_every_level(oracle):
    found = estimate_group_threshold(oracle, FlagRule("risk", 0.5))
    rate = {name: found.values[:, j] for j, name in enumerate(found.names)}
    p = rate["came_back_per_100"] / 100
    from_others = p / (1 - p) * (1 - rate["ppv"]) / rate["ppv"] * (1 - rate["false_negative_rate"])
    np.testing.assert_allclose(rate["false_positive_rate"], from_others, rtol=1e-12)


# ---- curves and cells ----------------------------------------------------------------------------


def test_curve_within_a_level_shows_its_shift():
    risk, data = random_data(np.random.default_rng(13), 6000, shift=1.0)
    curves = {c.group.name: c for c in fit_group_curves(sample_of(risk, data))}
    for name, shift in (("one", 0.0), ("two", 1.0)):
        curve = curves[name]
        truth = expit(np.log(curve.predicted / (1 - curve.predicted)) + shift)
        middle, reach = logit(curve.smooth), (logit(curve.upper) - logit(curve.lower)) / 2
        assert (np.abs(middle - logit(truth)) < 2 * reach).all()  # four standard errors
        np.testing.assert_allclose(curve.predicted / 0.005, np.round(curve.predicted / 0.005), atol=1e-9)
    assert (curves["two"].smooth > curves["two"].predicted).all()


def test_cells_make_the_tables(oracle):
    performance = estimate_group_performance(oracle)
    threshold = estimate_group_threshold(oracle, FlagRule("share", 0.2))
    gaps = (*estimate_group_gaps(performance), *estimate_group_gaps(threshold))
    tables = {
        "risk_groups": group_cells(performance),
        "risk_group_threshold": group_threshold_cells(threshold),
        "risk_group_gap": group_gap_cells(gaps),
        "risk_group_equality": group_equality_cells(gaps),
        "risk_group_conflict": group_conflict_cells(describe_conflicts(oracle, threshold)),
        "risk_group_curve": group_curve_cells(fit_group_curves(oracle)),
    }
    frames = {name: Results.from_cells(name, cells).frame for name, cells in tables.items()}
    groups = frames["risk_groups"].set_index(["row", "column"])
    assert set(groups.loc["kind|a"].index) == {*MEASURES, "discharges"}
    assert groups.loc[("kind|not recorded", "discharges"), "value"] == 128
    assert (groups["n_people"] > 0).all()
    assert set(frames["risk_group_threshold"]["column"]) == set(RATES)
    gap = frames["risk_group_gap"].set_index("column")
    assert set(gap.index) == {*MEASURES, *RATES}
    assert 'area under the ROC curve: "b" against "not recorded"' in gap.loc["auroc", "label"].replace("Area", "area")
    assert "only the share readmitted" in gap.loc["brier", "label"]
    assert "only the number of discharges" in gap.loc["ici", "label"]
    assert set(frames["risk_group_equality"]["column"]) == {"if_equal", "p_value"}
