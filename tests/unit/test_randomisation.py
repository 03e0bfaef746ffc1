"""The permutation interval against a count by hand, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.area.contrasts import Counterfactual
from evalkit.estimators.area.randomisation import (
    PermutationOptions,
    attained_interval,
    build_assignments,
    permutation_inference,
)
from evalkit.estimators.area.rates import RateOptions, _assignments, _masks, estimate_rate_ratio_did, impute_untreated
from evalkit.estimators.area.synthetic_control import difference_in_differences, synthetic_did
from tests.panels import ESTIMAND, make_panel


@pytest.fixture(scope="module")
def panel() -> Panel:
    return make_panel(np.random.default_rng(5), units=24, periods=17, adopted=8, mean=30, ratio=0.7)[0]


def by_hand(values: np.ndarray, treated: tuple[int, ...], first: int, statistic: str) -> float:
    """Statistic of difference-in-differences with one set of units treated, written out."""
    others = [j for j in range(len(values)) if j not in treated]
    gap = np.array([values[list(treated), t].mean() - values[others, t].mean() for t in range(values.shape[1])])
    gap -= gap[:first].mean()
    fit = np.sqrt(np.mean(gap[:first] ** 2))
    effect = abs(gap[first:].mean())
    return {
        "effect": effect, "effect_over_fit": effect / fit, "rmspe_ratio": np.sqrt(np.mean(gap[first:] ** 2)) / fit,
    }[statistic]  # fmt: skip


def p_by_hand(panel: Panel, candidate: float, scale: str, statistic: str) -> float:
    values, first = panel.values.copy(), 8
    values[0, first:] = values[0, first:] - candidate if scale == "mean_difference" else values[0, first:] / candidate
    each = [by_hand(values, (j,), first, statistic) for j in range(len(values))]
    return float(np.mean(np.array(each) >= each[0] * (1 - 1e-12)))


@pytest.mark.parametrize("statistic", ["effect", "effect_over_fit", "rmspe_ratio"])
@pytest.mark.parametrize(("scale", "null"), [("mean_difference", 0.0), ("rate_ratio", 1.0)])
def test_p_value_and_ends_are_those_of_a_count_by_hand(panel, scale, null, statistic):
    options = PermutationOptions(statistic=statistic)
    found = permutation_inference(panel, difference_in_differences, scale=scale, level=0.95, options=options)
    assert found.p_value == p_by_hand(panel, null, scale, statistic)
    for end, outward in ((found.lower, -1), (found.upper, 1)):
        step = outward * 1e-5 * abs(end)
        assert p_by_hand(panel, end + step, scale, statistic) <= 0.05 < p_by_hand(panel, end - step, scale, statistic)
    assert found.level == pytest.approx(1 - 1 / 24)
    assert found.smallest_p == pytest.approx(1 / 24)
    assert {c.name for c in found.checks} == {"smallest_p", "assignments", "rank"}


def curved(values, *, treated, donors, first):
    """A design whose gaps are not linear in the treated outcomes: the middle donor of each period."""
    values = np.broadcast_to(values, (len(treated), *values.shape[-2:]))
    rows = [np.median(v[d], axis=0) for v, d in zip(values, donors, strict=True)]
    observed = np.stack([v[t].mean(axis=0) for v, t in zip(values, treated, strict=True)])
    expected = np.stack(rows)
    return Counterfactual(observed, expected + (observed - expected)[:, :first].mean(axis=1, keepdims=True), first)


def test_a_design_that_is_not_linear_is_run_at_every_candidate(panel):
    found = permutation_inference(panel, curved, scale="mean_difference", level=0.95)

    def p_at(candidate: float) -> float:
        values = panel.values.copy()
        values[0, 8:] -= candidate
        treated = np.eye(24, dtype=bool)
        gap = curved(values, treated=treated, donors=~treated, first=8).gap
        each = np.abs(gap[:, 8:].mean(axis=1)) / np.sqrt((gap[:, :8] ** 2).mean(axis=1))
        return float((each >= each[0] * (1 - 1e-12)).mean())

    assert found.p_value == p_at(0.0)
    for end, outward in ((found.lower, -1), (found.upper, 1)):
        step = outward * 1e-5 * abs(end)
        assert p_at(end + step) <= 0.05 < p_at(end - step)


def test_time_weights_that_move_with_the_candidate_are_found_to_move(panel):
    """Synthetic DiD weighs periods by donors after adoption, of whom the treated is one: checked at the ends."""
    found = permutation_inference(panel, synthetic_did, scale="mean_difference", level=0.95)
    treated = np.eye(24, dtype=bool)
    for end, inside in ((found.lower, 1), (found.upper, -1)):
        p = []
        for candidate in (end - inside * 1e-4 * abs(end), end + inside * 1e-4 * abs(end)):
            values = panel.values.copy()
            values[0, 8:] -= candidate
            run = synthetic_did(values, treated=treated, donors=~treated, first=8)
            each = np.abs(run.effect) / run.pre_rmspe
            p.append(float((each >= each[0] * (1 - 1e-9)).mean()))
        assert p[0] <= 0.05 < p[1]


def test_placebos_may_leave_the_treated_out_of_their_donors(panel):
    options = PermutationOptions(statistic="effect", placebo_donors="untreated")
    found = permutation_inference(
        panel, difference_in_differences, scale="mean_difference", level=0.95, options=options
    )
    rest = panel.values[1:]
    each = [by_hand(panel.values, (0,), 8, "effect"), *(by_hand(rest, (j,), 8, "effect") for j in range(23))]
    assert found.p_value == np.mean(np.array(each) >= each[0] * (1 - 1e-12))
    # Placebos do not move with the candidate, so the interval is the estimate and the largest placebo.
    values = panel.values
    gap = values[0] - values[1:].mean(axis=0)
    effect = gap[8:].mean() - gap[:8].mean()
    assert (found.lower, found.upper) == pytest.approx((effect - max(each[1:]), effect + max(each[1:])), rel=1e-6)


def test_several_treated_units_are_listed_or_drawn(panel):
    two = replace(panel, adoption=np.where(np.arange(24) < 2, 8.0, np.nan))
    options = PermutationOptions(draws=300)  # 276 pairs
    found = permutation_inference(two, difference_in_differences, scale="mean_difference", level=0.95, options=options)
    pairs = [(a, b) for a in range(24) for b in range(a + 1, 24)]
    each = np.array([by_hand(panel.values, pair, 8, "effect_over_fit") for pair in pairs])
    assert found.p_value == pytest.approx((each >= each[0] * (1 - 1e-12)).mean())
    few = PermutationOptions(draws=99)
    with pytest.raises(ParameterError, match="needs a random generator"):
        permutation_inference(two, difference_in_differences, scale="mean_difference", level=0.95, options=few)
    drawn = permutation_inference(
        two, difference_in_differences, scale="mean_difference", level=0.95, options=few,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    assert drawn.smallest_p == pytest.approx(0.01)
    assert abs(drawn.p_value - found.p_value) < 0.2


def test_the_true_assignment_comes_first():
    treated = np.array([False, True, False, True])
    rows, how = build_assignments(treated, draws=999, rng=None)
    assert (rows[0] == treated).all()
    assert len(np.unique(rows, axis=0)) == len(rows) == 6
    assert "every set" in how


def test_rates_are_inverted_by_the_same_search(panel):
    """The Poisson estimator's own interval comes out of `attained_interval` with its statistic."""
    found = estimate_rate_ratio_did(panel, ESTIMAND, rng=np.random.default_rng(1))
    assignments, _ = _assignments(panel, RateOptions(), np.random.default_rng(1))
    fitted, target = _masks(panel, assignments, RateOptions())

    def p_value(ratio: float) -> float:
        adjusted = np.where(target[0], panel.outcome / ratio, panel.outcome)
        each = np.abs(
            impute_untreated(adjusted[None], panel.denominator[None], fitted=fitted, target=target).studentised
        )
        return float((each >= each[0] - 1e-12).mean())

    lower, upper, level, checks = attained_interval(p_value, found.value, 0.1, 24, 0.95, multiplicative=True)
    assert (lower, upper, level) == pytest.approx((found.lower, found.upper, found.level), rel=1e-4)
    assert checks == ()


def multiplicative(values, *, treated, donors, first):
    """What a Poisson fit with unit and period effects expects where denominators are alike, in closed form."""
    own, rest = (m.astype(float) @ values for m in (treated, donors))
    before = own[:, :first].sum(axis=1) / rest[:, :first].sum(axis=1)
    return Counterfactual(own, before[:, None] * rest, first)


def test_a_multiplicative_design_gives_the_ratio_of_the_poisson_estimator(panel):
    alike = replace(panel, denominator=np.full_like(panel.denominator, 100.0))
    treated = alike.treated[None]
    ratio = multiplicative(alike.values, treated=treated, donors=~treated, first=8).ratio[0]
    found = estimate_rate_ratio_did(alike, ESTIMAND, rng=np.random.default_rng(1))
    assert ratio == pytest.approx(found.value, rel=1e-8)
    own = permutation_inference(alike, multiplicative, scale="rate_ratio", level=0.95)
    assert own.lower < ratio < own.upper


def test_a_p_value_of_exactly_one_less_the_level_rejects():
    """3 of 30 at 90%, where 1 - 0.9 is a little less than 0.1: three ranks are rejected, and the level says so."""

    def p_value(candidate: float) -> float:
        return np.ceil(30 * max(1 - abs(candidate), 1e-9) - 1e-9) / 30

    lower, upper, level, _ = attained_interval(p_value, 0.0, 0.1, 30, 0.9, multiplicative=False)
    assert level == pytest.approx(0.9)
    assert (lower, upper) == pytest.approx((-0.9, 0.9), abs=1e-6)


@pytest.mark.parametrize("spread", [0.1, 30.0, 400.0])
def test_a_ratio_that_is_never_rejected_has_open_ends_and_no_number_overflows(spread):
    """Where next to nothing is counted the spread is wide: forty of a log ratio are past what a number holds."""
    tried = []

    def p_value(candidate: float) -> float:
        tried.append(candidate)
        return 1.0

    lower, upper, _, checks = attained_interval(p_value, 0.5, spread, 40, 0.95, multiplicative=True)
    assert (lower, upper, checks) == (0.0, np.inf, ())
    assert 0 < min(tried) <= max(tried) < np.inf


def test_what_cannot_be_had_is_refused(panel):
    few = panel.only(tuple(panel.units[:9]))
    with pytest.raises(NotEstimable, match="too few for an honest permutation"):
        permutation_inference(few, difference_in_differences, scale="mean_difference", level=0.95)
    with pytest.raises(ParameterError, match="not one of this inference") as caught:
        permutation_inference(panel, difference_in_differences, scale="level_change", level=1.5)
    assert len(caught.value.faults) == 2
    below = replace(panel, outcome=panel.outcome - 100)
    with pytest.raises(ParameterError, match="outcomes of 0 or more"):
        permutation_inference(below, difference_in_differences, scale="rate_ratio", level=0.95)
    staggered = replace(panel, adoption=np.where(np.arange(24) < 2, [8.0 + j for j in range(24)], np.nan))
    with pytest.raises(NotEstimable, match="one adoption period"):
        permutation_inference(staggered, difference_in_differences, scale="mean_difference", level=0.95)


def test_between_10_and_19_areas_there_is_a_p_value_but_no_interval(panel):
    some = panel.only(tuple(panel.units[:12]))
    found = permutation_inference(some, difference_in_differences, scale="mean_difference", level=0.95)
    assert np.isnan([found.lower, found.upper, found.level]).all()
    assert found.smallest_p == pytest.approx(1 / 12)
    assert 0 < found.p_value <= 1
    assert next(c for c in found.checks if c.name == "interval").passed is False
    at_80 = permutation_inference(some, difference_in_differences, scale="mean_difference", level=0.8)
    assert at_80.level == pytest.approx(1 - 2 / 12)
    assert at_80.lower < at_80.upper


def test_a_perfect_fit_is_refused_unless_it_does_not_matter(panel):
    outcome = panel.outcome.copy()
    outcome[:, :8] = panel.denominator[:, :8]  # all alike before
    flat = replace(panel, outcome=outcome)
    with pytest.raises(NotEstimable, match="is perfect"):
        permutation_inference(flat, difference_in_differences, scale="mean_difference", level=0.95)
    options = PermutationOptions(statistic="effect")
    found = permutation_inference(flat, difference_in_differences, scale="mean_difference", level=0.95, options=options)
    assert np.isfinite(found.lower)
