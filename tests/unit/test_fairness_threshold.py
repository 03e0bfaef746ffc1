"""What a threshold does to groups, by hand; criteria that cannot hold together; curves, cells and the gate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from evalkit.core.result import Results
from evalkit.disclose import policy, release
from evalkit.risk.fairness import (
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
from evalkit.risk.fairness_threshold import FlagRule, conflict_checks, describe_conflicts, estimate_group_threshold
from evalkit.risk.measures import MEASURES
from evalkit.risk.validate import wilson_interval
from tests.group_people import make_data, oracle_data, random_data, sample_of
from tests.report_factory import PROVENANCE
from tests.risk_factory import risk_protocol

RATES = ("flagged_per_100", "sensitivity", "false_positive_rate", "false_negative_rate", "ppv", "npv")


@pytest.fixture(scope="module")
def oracle():
    return sample_of(*oracle_data())


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
    assert [(c.name, c.passed, c.text) for c in conflict_checks([found])] == [
        ("criteria_ethnic_group", None, found.text)
    ]
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


def test_gate_withholds_a_second_level_wherever_a_small_one_is_refused():
    rng = np.random.default_rng(1)
    n = 3000
    kinds = rng.choice(["white", "black", "asian", "rare"], n, p=[0.5, 0.3, 0.194, 0.006])
    risk = expit(-1.5 + rng.normal(0, 0.6, n))
    data = make_data((rng.random(n) < risk).astype(int), {"ethnic_group": kinds, "sex": rng.choice(["f", "m"], n)})
    sample = sample_of(risk, data, replicates=20)
    performance = estimate_group_performance(sample, names=["auroc", "brier"])
    threshold = estimate_group_threshold(sample, FlagRule("share", 0.2))
    gaps = (*estimate_group_gaps(performance), *estimate_group_gaps(threshold))
    tables = {
        "risk_groups": group_cells(performance),
        "risk_group_threshold": group_threshold_cells(threshold),
        "risk_group_gap": group_gap_cells(gaps),
        "risk_group_equality": group_equality_cells(gaps),
        "risk_group_conflict": group_conflict_cells(describe_conflicts(sample, threshold)),
        "risk_group_curve": group_curve_cells(fit_group_curves(sample)),
    }
    protocol = risk_protocol()
    results = Results.concat([Results.from_cells(name, cells) for name, cells in tables.items()])
    stamped = results.stamped(notebook="06", protocol=protocol.digest, data="d" * 8)
    released = release(stamped, policy=policy("strict"), protocol=protocol, provenance=PROVENANCE)
    numbers = ["value", "lower", "upper", "n_people", "n_events"]
    for name in tables:
        frame = released.table(name)
        assert frame.loc[frame["row"].str.startswith("sex"), "value"].notna().any(), name
        if name in ("risk_group_gap", "risk_group_equality"):
            hidden = frame["row"].str.startswith("ethnic_group")
        else:
            hidden = frame["row"].str.startswith("ethnic_group|asian")  # the next smallest
            assert frame.loc[frame["row"].str.startswith("ethnic_group|white"), "value"].notna().any(), name
            refused = frame[frame["row"].str.startswith("ethnic_group|rare")]
            assert refused["value"].isna().all() and refused["n_events"].isna().all(), name
        assert hidden.any()
        assert frame.loc[hidden, numbers].isna().all(axis=None), name
