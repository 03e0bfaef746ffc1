"""The conformal test against a count by hand, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.area.conformal import _RHO_GRID, ConformalOptions, _restricted_likelihood, conformal_inference
from evalkit.estimators.area.synthetic_control import difference_in_differences, synthetic_control, synthetic_did
from evalkit.simulate.panels import RATE_PANEL, PanelSettings, simulate_panel
from tests.panels import build_panel


def make(seed: int, settings: PanelSettings = RATE_PANEL, **changed) -> Panel:
    return build_panel(simulate_panel(replace(settings, comparators=3, **changed), rng=np.random.default_rng(seed))[0])


def p_by_hand(panel: Panel, candidate: float, rho: float | None) -> float:
    """Moving blocks of difference-in-differences residuals, written out."""
    values = panel.values.copy()
    values[0, 12:] -= candidate
    gap = values[0] - values[1:].mean(axis=0)
    u = gap - gap.mean()
    if rho is not None:
        u = u[1:] - rho * u[:-1]
        u = u - u.mean()
    means = [abs(np.roll(u, shift)[-13:].mean()) for shift in range(len(u))]
    return float(np.mean(np.array(means) >= means[0] - 1e-9 * np.abs(u).max()))


@pytest.mark.parametrize("whiten", ["ar1", "none"])
def test_p_value_and_ends_are_those_of_a_count_by_hand(whiten):
    panel = make(3, rho=0.4, effect=2.0)
    options = ConformalOptions(whiten=whiten)
    found = conformal_inference(panel, difference_in_differences, scale="mean_difference", level=0.95, options=options)
    rho = next(c.value for c in found.checks if c.name == "serial_correlation") if whiten == "ar1" else None
    assert found.p_value == p_by_hand(panel, 0.0, rho)
    for end, outward in ((found.lower, -1), (found.upper, 1)):
        step = outward * 1e-5 * max(abs(end), 1e-2)
        assert p_by_hand(panel, end + step, rho) <= 0.05 < p_by_hand(panel, end - step, rho)
    count = 24 if whiten == "ar1" else 25
    assert found.smallest_p == pytest.approx(1 / count)
    assert found.level == pytest.approx(1 - 1 / count)


def test_the_restricted_likelihood_is_that_of_a_dense_covariance():
    """Against the formula with V, V^-1 and |X'V^-1 X| in full (Harville 1977, equation 4)."""
    rng = np.random.default_rng(1)
    y, x = rng.normal(size=(2, 15)), np.column_stack([np.ones(15), np.arange(15) > 6]).astype(float)
    ours = _restricted_likelihood(y, x)
    lag = np.abs(np.subtract.outer(np.arange(15), np.arange(15)))
    theirs = []
    for rho in _RHO_GRID:
        v = rho**lag / (1 - rho**2) if rho else np.eye(15)
        inverse = np.linalg.inv(v)
        a = x.T @ inverse @ x
        m = inverse - inverse @ x @ np.linalg.solve(a, x.T @ inverse)
        logdet = np.linalg.slogdet(v)[1] + np.linalg.slogdet(a)[1]
        theirs.append(sum(-0.5 * logdet - 13 / 2 * np.log(row @ m @ row) for row in y))
    assert ours - ours[0] == pytest.approx(np.array(theirs) - theirs[0], abs=1e-8)


def test_correlation_is_estimated_without_the_effect():
    still = conformal_inference(make(4, effect=0.0), difference_in_differences, scale="mean_difference", level=0.95)
    moved = conformal_inference(make(4, effect=50.0), difference_in_differences, scale="mean_difference", level=0.95)
    rho = [next(c.value for c in f.checks if c.name == "serial_correlation") for f in (still, moved)]
    assert rho[0] == rho[1]


def test_a_synthetic_control_is_fitted_anew_under_each_candidate():
    panel = make(5, effect=2.0, area_sd=0.3)
    found = conformal_inference(panel, synthetic_control, scale="mean_difference", level=0.95)
    assert found.lower < found.upper
    assert found.smallest_p == pytest.approx(1 / 24)


def test_an_interval_that_would_not_cover_is_not_given():
    panel = make(6, rho=0.9, after=40, before=40)
    plain = ConformalOptions(whiten="none")
    found = conformal_inference(panel, difference_in_differences, scale="mean_difference", level=0.95, options=plain)
    assert np.isnan([found.lower, found.upper, found.level]).all()
    refused = next(c for c in found.checks if c.name == "interval")
    assert refused.passed is False
    assert "whiten" in refused.text
    iid = ConformalOptions("iid")
    for design, scale in ((synthetic_control, "mean_difference"), (difference_in_differences, "rate_ratio")):
        found = conformal_inference(
            make(3, area_sd=0.3), design, scale=scale, level=0.95, options=iid, rng=np.random.default_rng(1)
        )
        assert np.isnan(found.lower)
        assert "moving_block" in next(c for c in found.checks if c.name == "interval").text


def test_random_orders_find_the_same_as_moving_blocks_roughly():
    panel = make(7, rho=0.2, effect=3.0)
    options = ConformalOptions("iid", draws=999)
    found = conformal_inference(
        panel, difference_in_differences, scale="mean_difference", level=0.95, options=options,
        rng=np.random.default_rng(2),
    )  # fmt: skip
    assert found.smallest_p == pytest.approx(0.001)
    assert found.level == pytest.approx(0.95)
    assert found.p_value < 0.01
    assert found.lower < 3 < found.upper


def test_what_cannot_be_had_is_refused():
    panel = make(8)
    ask = {"scale": "mean_difference", "level": 0.95}
    with pytest.raises(ParameterError, match="draws orders"):
        conformal_inference(panel, difference_in_differences, options=ConformalOptions("iid"), **ask)
    with pytest.raises(NotEstimable, match="3 or more untreated"):
        conformal_inference(panel.only(tuple(panel.units[:3])), difference_in_differences, **ask)
    with pytest.raises(NotEstimable, match="one after"):  # it has no time weights where nothing comes after
        conformal_inference(panel, synthetic_did, **ask)

    def endless(values, *, treated, donors, first):
        found = difference_in_differences(values, treated=treated, donors=donors, first=first)
        return replace(found, expected=found.expected * (np.nan if first == 25 else 1.0))

    with pytest.raises(NotEstimable, match="no finite residuals"):
        conformal_inference(panel, endless, **ask)
    with pytest.raises(ParameterError, match="not one of this inference"):
        conformal_inference(panel, difference_in_differences, scale="slope_change", level=0.95)


def test_too_few_periods_give_a_p_value_but_no_interval():
    found = conformal_inference(
        make(9, before=6, after=6), difference_in_differences, scale="mean_difference", level=0.95
    )
    assert np.isnan(found.lower)
    assert found.smallest_p == pytest.approx(1 / 11)
    assert next(c for c in found.checks if c.name == "interval").passed is False
