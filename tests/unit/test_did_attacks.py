"""Difference-in-differences where events part treated from untreated, and where adoption falls within a period."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.errors import NotEstimable
from evalkit.estimators.area.bacon import compute_bacon
from evalkit.estimators.area.did import DidOptions, estimate_did, estimate_did_event_study
from evalkit.estimators.area.did_cells import build_cells, static_exposure
from evalkit.estimators.area.twfe import compute_twfe
from tests.did_panels import did_panel
from tests.panels import DIFFERENCE, ESTIMAND

POISSON = DidOptions(family="poisson")
FIRST = 7


def counts(*, treated: int = 12, stagger: int = 0) -> Panel:
    rng = np.random.default_rng(11)
    return did_panel(rng, units=30, periods=14, before=FIRST, treated=treated, stagger=stagger, family="poisson")


def silenced(panel: Panel, *, periods: slice, treated: bool = False) -> Panel:
    """The same without any event of one side in these periods."""
    y = panel.outcome.copy()
    y[panel.treated if treated else ~panel.treated, periods] = 0
    return replace(panel, outcome=y)


@pytest.mark.parametrize("errors", ["cluster", "heteroskedastic", "iid"])
@pytest.mark.parametrize("periods", [slice(FIRST, None), slice(0, FIRST)])
def test_no_event_among_the_untreated_on_a_side_leaves_no_ratio(periods, errors):
    with pytest.raises(NotEstimable, match="comparison units"):
        estimate_did(silenced(counts(), periods=periods), ESTIMAND, options=DidOptions(family="poisson", errors=errors))


@pytest.mark.parametrize("periods", [slice(10, 11), slice(2, 3), slice(FIRST - 1, FIRST), slice(0, FIRST)])
def test_no_event_among_the_untreated_at_a_step_or_the_reference_leaves_no_path(periods):
    with pytest.raises(NotEstimable, match="comparison units"):
        estimate_did_event_study(silenced(counts(), periods=periods), ESTIMAND, options=POISSON)


def test_one_silent_period_of_the_untreated_does_not_harm_the_static_effect():
    found = estimate_did(silenced(counts(), periods=slice(10, 11)), ESTIMAND, options=POISSON)
    assert 0.2 < found.lower < found.value < found.upper < 5


def test_staggered_comparisons_that_are_silent_before_the_first_adoption_are_no_separation():
    # The last cohort and the never-treated have events only later; the first cohort ties the periods together.
    panel = counts(treated=12)
    starts = np.where(panel.treated, np.where(np.arange(30) < 6, 7.0, 10.0), np.nan)
    y = panel.outcome.copy()
    y[6:, :FIRST] = 0
    found = estimate_did(replace(panel, outcome=y, adoption=starts), ESTIMAND, options=POISSON)
    assert 0.2 < found.value < 5


def test_separation_through_shares_of_exposure_does_not_settle():
    panel = counts()
    share = np.where(panel.treated[:, None], np.clip(np.arange(14) - FIRST + 0.5, 0, 1), 0.0)
    panel = replace(panel, covariates=share[:, :, None], covariate_names=("share",))
    options = DidOptions(family="poisson", exposure="share")
    assert math.isfinite(estimate_did(panel, ESTIMAND, options=options).value)
    with pytest.raises(NotEstimable, match="does not settle"):
        estimate_did(silenced(panel, periods=slice(FIRST, None)), ESTIMAND, options=options)


@pytest.mark.parametrize("periods", [slice(FIRST, None), slice(0, FIRST)])
def test_a_regression_run_past_the_gate_does_not_settle_either(periods):
    panel = silenced(counts(), periods=periods)
    exposed, kept = static_exposure(panel, anticipation_periods=0, exposure=None)
    cells = build_cells(panel, exposed[:, :, None], kept, family="poisson", covariates=(), clusters=None)
    with pytest.raises(NotEstimable, match="does not settle"):
        compute_twfe(cells, family="poisson")


def test_the_decomposition_adds_to_the_estimate_or_is_refused():
    panel = did_panel(np.random.default_rng(4), treated=12, stagger=1, before=8)
    table = compute_bacon(panel)
    total = (table["estimate"] * table["weight"]).sum()
    assert total == pytest.approx(estimate_did(panel, DIFFERENCE).value, rel=1e-9)
    inside = replace(panel, adoption=panel.adoption - np.where(np.arange(33) < 2, 0.5, 0.0))
    with pytest.raises(NotEstimable, match="adoption falls within a period"):
        compute_bacon(inside)


def test_staggered_adoption_within_a_period_is_estimated_without_a_share_of_comparisons():
    panel = did_panel(np.random.default_rng(4), treated=12, stagger=1, before=8)
    found = estimate_did(replace(panel, adoption=panel.adoption - 0.5), DIFFERENCE)
    check = next(c for c in found.checks if c.name == "staggered_adoption")
    assert check.passed is False and math.isnan(check.value)
    assert math.isfinite(found.lower)
