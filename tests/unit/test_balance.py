"""Balance: each number by its definition, and what the checks say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.people.balance import BalanceOptions, assess_balance, compute_ks, compute_propensity_overlap
from evalkit.estimators.people.matching import MatchOptions, match
from evalkit.estimators.people.weighting import WeightOptions, build_weights
from tests.unit.test_weighting import people


def test_before_is_the_plain_comparison() -> None:
    comparison = people()
    table = assess_balance(comparison, build_weights(comparison)).table.set_index("covariate")
    t, x = comparison.treated, comparison.covariates
    assert table.loc["x0", "smd_before"] == pytest.approx((x[t, 0].mean() - x[~t, 0].mean()) / x[t, 0].std(ddof=1))
    assert table.loc["x0", "variance_ratio_before"] == pytest.approx(x[t, 0].var(ddof=1) / x[~t, 0].var(ddof=1))
    share = x[t, 2].mean()
    assert table.loc["x2", "kind"] == "binary"
    assert table.loc["x2", "difference_before"] == pytest.approx(share - x[~t, 2].mean())
    assert table.loc["x2", "smd_before"] == pytest.approx((share - x[~t, 2].mean()) / np.sqrt(share * (1 - share)))
    assert np.isnan(table.loc["x2", "variance_ratio_before"])
    for j, name in enumerate(comparison.names):
        assert table.loc[name, "ks_before"] == pytest.approx(stats.ks_2samp(x[t, j], x[~t, j]).statistic)


@pytest.mark.parametrize(("estimand", "side"), [("ATT", "treated"), ("ATC", "comparison"), ("ATE", "pooled")])
def test_the_scale_is_of_the_estimands_side(estimand: str, side: str) -> None:
    comparison = people()
    weights = build_weights(comparison, options=WeightOptions(estimand=estimand))
    given = assess_balance(comparison, weights, options=BalanceOptions(scale=side)).table
    own = assess_balance(comparison, weights).table
    assert own["scale"].tolist() == given["scale"].tolist()
    t, x = comparison.treated, comparison.covariates[:, 0]
    variance = {"treated": x[t].var(ddof=1), "comparison": x[~t].var(ddof=1)}
    variance["pooled"] = (variance["treated"] + variance["comparison"]) / 2
    assert own["scale"][0] == pytest.approx(np.sqrt(variance[side]))


def test_whole_number_weights_are_copies_of_people() -> None:
    comparison, rng = people(), np.random.default_rng(2)
    copies = rng.integers(1, 4, size=400)
    weights = replace(build_weights(comparison), weights=copies.astype(float))
    after = assess_balance(comparison, weights).table
    rows = np.repeat(np.arange(400), copies)
    many = comparison.select(rows)
    t, x = many.treated, many.covariates
    for j in range(3):
        assert after["mean_treated_after"][j] == pytest.approx(x[t, j].mean())
        assert after["ks_after"][j] == pytest.approx(stats.ks_2samp(x[t, j], x[~t, j]).statistic)
    # Weights are not counts in a variance: sum w (x - m)^2 W / (W^2 - sum w^2), a share of the copies' variance.
    for j in (0, 1):
        parts = []
        for side in (True, False):
            w, v = copies[comparison.treated == side], comparison.covariates[comparison.treated == side, j]
            mean = np.average(v, weights=w)
            parts.append((w * (v - mean) ** 2).sum() * w.sum() / (w.sum() ** 2 - (w**2).sum()))
        assert after["variance_ratio_after"][j] == pytest.approx(parts[0] / parts[1])


def test_ks_is_not_fooled_by_ties() -> None:
    x = np.array([[1.0], [1.0], [1.0], [2.0]])
    treated = np.array([True, False, True, False])
    assert compute_ks(x, treated, np.ones((2, 4))) == pytest.approx(np.full((2, 1), 0.5))
    assert compute_ks(x[:3], treated[:3], np.ones((1, 3))) == pytest.approx(np.zeros((1, 1)))


def test_weighting_and_matching_improve_balance_and_checks_say_whether_enough() -> None:
    comparison = people(2000)
    for balanced in (build_weights(comparison), match(comparison, options=MatchOptions(replace="with"))):
        found = assess_balance(comparison, balanced)
        assert found.table["smd_after"].abs().max() < found.table["smd_before"].abs().max() / 3
        checks = {c.name: c for c in found.checks}
        assert checks["balance"].passed is True
        assert checks["balance"].value == pytest.approx(found.table["smd_after"].abs().max())
    strict = assess_balance(comparison, balanced, options=BalanceOptions(limit=1e-6))
    worst = strict.table["covariate"][strict.table["smd_after"].abs().argmax()]
    (check,) = (c for c in strict.checks if c.name == "balance")
    assert check.passed is False
    assert worst in check.text


def test_effective_samples_are_kishs() -> None:
    comparison = people()
    built = build_weights(comparison)
    sides = assess_balance(comparison, built).sides.set_index("side")
    w = built.weights[~comparison.treated]
    assert sides.loc["comparison", "effective_after"] == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert sides.loc["treated", "effective_after"] == sides.loc["treated", "people"] == comparison.treated.sum()


def test_overlap_bins_hold_everybody_once() -> None:
    comparison = people(1000)
    built = build_weights(comparison)
    bins = compute_propensity_overlap(comparison, built, options=BalanceOptions(bins=10))
    assert len(bins) == 20
    for side, rows in bins.groupby("side"):
        treated = side == "treated"
        inside = built.propensity[comparison.treated == treated]
        expected, _ = np.histogram(inside, bins=np.linspace(0, 1, 11))
        assert rows["people"].tolist() == expected.tolist()
        assert rows["share"].sum() == pytest.approx(1)
        assert rows["weighted_share"].sum() == pytest.approx(1)
    wide = bins.pivot(index="lower", columns="side", values=["share", "weighted_share"])
    gap = (wide.xs("treated", axis=1, level=1) - wide.xs("comparison", axis=1, level=1)).abs().sum()
    assert gap["weighted_share"] < gap["share"] / 3
    (check,) = (c for c in assess_balance(comparison, built).checks if c.name == "overlap_coefficient")
    fine = compute_propensity_overlap(comparison, built)
    shares = fine.pivot(index="lower", columns="side", values="share")
    assert check.value == pytest.approx(shares.min(axis=1).sum())


def test_people_outside_common_support_are_counted_and_few_are_hidden() -> None:
    far = people(1000, pull=2.0)
    built = build_weights(far, options=WeightOptions(estimand="ATO"))
    e, t = built.propensity, far.treated
    outside = (e < max(e[t].min(), e[~t].min())) | (e > min(e[t].max(), e[~t].max()))
    (check,) = (c for c in assess_balance(far, built).checks if c.name == "outside_common_support")
    assert outside.sum() >= 10
    assert check.value == pytest.approx(outside.mean())
    near = people(1000, pull=0.3)
    (check,) = (c for c in assess_balance(near, build_weights(near)).checks if c.name == "outside_common_support")
    assert "fewer than 10" in check.text
    assert np.isnan(check.value)


def test_without_a_propensity_there_is_balance_but_no_overlap() -> None:
    comparison = people()
    built = build_weights(comparison, options=WeightOptions(method="entropy"))
    found = assess_balance(comparison, built)
    assert found.table["smd_after"].abs().max() < 1e-8
    assert "overlap_coefficient" not in {c.name for c in found.checks}
    with pytest.raises(NotEstimable, match="fits none"):
        compute_propensity_overlap(comparison, built)


def test_refusals() -> None:
    comparison = people()
    built = build_weights(comparison)
    with pytest.raises(ParameterError) as caught:
        assess_balance(people(300), built, options=BalanceOptions(scale="mine", bins=0))
    assert len(caught.value.faults) == 3


def test_a_covariate_without_spread_on_the_scales_side_falls_back_to_the_pooled_one() -> None:
    comparison = people()
    built = build_weights(comparison)
    x = comparison.covariates.copy()
    x[comparison.treated, 0] = 2.0
    table = assess_balance(replace(comparison, covariates=x), built).table
    pooled = np.sqrt(x[~comparison.treated, 0].var(ddof=1) / 2)
    assert table["scale"][0] == pytest.approx(pooled)
    assert np.isfinite(table["smd_after"]).all()
