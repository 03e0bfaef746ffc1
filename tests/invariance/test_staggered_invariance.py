"""What must not change a staggered effect, and what must change it in proportion."""

from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.panel import Panel
from evalkit.estimators.area.group_time import StaggeredOptions
from evalkit.estimators.area.staggered import estimate_staggered
from tests.panels import DIFFERENCE

OPTIONS = {
    "never treated": StaggeredOptions(covariates=("x",)),
    "not yet treated": StaggeredOptions(covariates=("x",), controls="not_yet_treated", aggregation="dynamic"),
    "weighting": StaggeredOptions(covariates=("x",), adjustment="weighting", aggregation="calendar"),
    "regression": StaggeredOptions(covariates=("x",), adjustment="regression", aggregation="group"),
    "sun abraham": StaggeredOptions(method="sun_abraham"),
    "imputation": StaggeredOptions(method="imputation"),
}


def make() -> Panel:
    rng = np.random.default_rng(11)
    adoption = np.repeat([3.0, 5.0, np.nan], [8, 9, 14])
    values = rng.normal(size=(31, 9)) + (np.arange(9) >= adoption[:, None])
    x = np.repeat(rng.normal(size=(31, 1, 1)), 9, axis=1)
    units = np.array([f"u{k:02d}" for k in range(31)])
    return Panel(units, np.arange(9.0), values, np.ones_like(values), adoption, x, ("x",))


def numbers(panel: Panel, options: StaggeredOptions) -> np.ndarray:
    found = estimate_staggered(panel, DIFFERENCE, options=options)
    return np.array([found.value, found.lower, found.upper, found.se])


@pytest.mark.parametrize("name", OPTIONS)
def test_unit_and_period_effects_do_not_matter(name):
    panel, options = make(), OPTIONS[name]
    rng = np.random.default_rng(12)
    shifted = panel.outcome + 10 * rng.normal(size=(31, 1)) + 10 * rng.normal(size=9)
    moved = replace(panel, outcome=shifted)
    assert numbers(moved, options) == pytest.approx(numbers(panel, options), rel=1e-9)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_outcomes_scale_is_the_effects(name):
    panel, options = make(), OPTIONS[name]
    scaled = replace(panel, outcome=-3 * panel.outcome)
    value, lower, upper, se = numbers(panel, options)
    assert numbers(scaled, options) == pytest.approx(np.array([-3 * value, -3 * upper, -3 * lower, 3 * se]), rel=1e-9)


@pytest.mark.parametrize("name", OPTIONS)
def test_outcome_over_denominator_is_what_counts(name):
    panel, options = make(), OPTIONS[name]
    time = np.random.default_rng(13).uniform(1, 9, panel.outcome.shape)
    rated = replace(panel, outcome=panel.outcome * time, denominator=time)
    assert numbers(rated, options) == pytest.approx(numbers(panel, options), rel=1e-9)


@pytest.mark.parametrize("name", OPTIONS)
def test_order_and_names_of_units_do_not_matter(name):
    panel, options = make(), OPTIONS[name]
    order = np.random.default_rng(14).permutation(31)
    shuffled = replace(
        panel,
        units=panel.units[::-1],
        outcome=panel.outcome[order],
        adoption=panel.adoption[order],
        covariates=panel.covariates[order],
    )
    assert numbers(shuffled, options) == pytest.approx(numbers(panel, options), rel=1e-9)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_calendars_origin_and_step_do_not_matter(name):
    panel, options = make(), OPTIONS[name]
    later = replace(panel, periods=2000 + 0.25 * panel.periods, adoption=2000 + 0.25 * panel.adoption)
    assert numbers(later, options) == pytest.approx(numbers(panel, options), rel=1e-12)


@pytest.mark.parametrize("name", [n for n, o in OPTIONS.items() if o.covariates])
def test_the_covariates_scale_does_not_matter(name):
    panel, options = make(), OPTIONS[name]
    scaled = replace(panel, covariates=1e5 - 1e3 * panel.covariates)
    assert numbers(scaled, options) == pytest.approx(numbers(panel, options), rel=1e-7)
