"""What may not change a difference-in-differences: levels of units and periods, names, units of measurement, order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.result import Estimate
from evalkit.estimators.area.bacon import compute_bacon
from evalkit.estimators.area.did import DidOptions, estimate_did, estimate_did_event_study
from tests.did_panels import did_panel
from tests.panels import DIFFERENCE, ESTIMAND

GAUSSIAN = ["cluster", "wild_bootstrap", "conley_taber", "permutation"]
NUMBERS = ("value", "se", "lower", "upper", "p_value", "level")


def panel(**changes) -> Panel:
    return did_panel(np.random.default_rng(6), effect=0.5, **changes)


def run(p: Panel, errors: str = "cluster", family: str = "gaussian", **options) -> Estimate:
    estimand = DIFFERENCE if family == "gaussian" else ESTIMAND
    settings = DidOptions(family=family, errors=errors, replicates=199, **options)
    return estimate_did(p, estimand, options=settings, rng=np.random.default_rng(2))


def treated_for(errors: str) -> int:
    return 1 if errors in ("conley_taber", "permutation") else 8


def numbers(e: Estimate) -> np.ndarray:
    return np.array([getattr(e, n) for n in NUMBERS])


def assert_same(a: Estimate, b: Estimate, *, factor: float = 1.0, rel: float = 1e-6) -> None:
    scaled = numbers(a) * np.array([factor, abs(factor), factor, factor, 1.0, 1.0])
    if factor < 0:
        scaled[[2, 3]] = scaled[[3, 2]]
    np.testing.assert_allclose(numbers(b), scaled, rtol=rel, atol=1e-9)


@pytest.mark.parametrize("errors", GAUSSIAN)
def test_unit_and_period_levels_do_not_matter(errors):
    p = panel(treated=treated_for(errors))
    rng = np.random.default_rng(0)
    moved = replace(p, outcome=p.outcome + rng.normal(0, 50, (33, 1)) + rng.normal(0, 50, (1, 25)))
    assert_same(run(p, errors), run(moved, errors))


@pytest.mark.parametrize("errors", GAUSSIAN)
@pytest.mark.parametrize("factor", [1e-6, 1e6, -3.0])
def test_the_unit_of_measurement_does_not_matter(errors, factor):
    p = panel(treated=treated_for(errors))
    found = run(replace(p, outcome=p.outcome * factor), errors)
    assert_same(run(p, errors), replace(found, value=found.value / factor, se=found.se / abs(factor),
                lower=min(found.lower / factor, found.upper / factor),
                upper=max(found.lower / factor, found.upper / factor)))  # fmt: skip


@pytest.mark.parametrize("errors", GAUSSIAN)
def test_names_of_units_and_dates_of_periods_do_not_matter(errors):
    """Names are given so that units keep their order: draws go by place."""
    p = panel(treated=treated_for(errors))
    named = replace(
        p, units=np.array([f"zz{i:03d}" for i in range(33)]), periods=p.periods + 2000, adoption=p.adoption + 2000
    )
    assert_same(run(p, errors), run(named, errors), rel=1e-9)


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_the_order_of_units_does_not_matter(family):
    p = panel(family=family)
    order = np.random.default_rng(0).permutation(33)
    shuffled = Panel(
        p.units[order], p.periods, p.outcome[order], p.denominator[order], p.adoption[order], p.covariates[order]
    )
    assert_same(run(p, family=family), run(shuffled, family=family))


def test_an_effect_added_is_an_effect_found():
    p = panel()
    exposed = np.arange(25) >= p.adoption[:, None]
    for errors in ("cluster", "wild_bootstrap"):
        before, after = run(p, errors), run(replace(p, outcome=p.outcome + 7.0 * exposed), errors)
        moved = [after.value - before.value, after.lower - before.lower, after.upper - before.upper]
        np.testing.assert_allclose(moved, 7.0, rtol=1e-6)


def test_poisson_ratios_ignore_the_unit_of_person_time_and_the_level_of_units():
    p = panel(family="poisson")
    years = run(p, family="poisson")
    assert_same(years, run(replace(p, denominator=p.denominator / 365.25), family="poisson"))
    # A unit's person-time twice as long is a unit effect.
    twice = p.denominator * np.where(np.arange(33) % 2, 2.0, 1.0)[:, None]
    assert_same(years, run(replace(p, denominator=twice), family="poisson"))


def test_equal_weights_are_no_weights_and_two_of_a_unit_are_its_weight():
    p = panel()
    assert_same(run(p), run(replace(p, weights=np.full_like(p.outcome, 3.0))))
    weights = np.where(np.arange(33) == 20, 2.0, 1.0)[:, None] * np.ones(25)
    rows = np.append(np.arange(33), 20)
    doubled = Panel(
        np.append(p.units, "twin"),
        p.periods,
        p.outcome[rows],
        p.denominator[rows],
        p.adoption[rows],
        p.covariates[rows],
    )
    assert run(replace(p, weights=weights)).value == pytest.approx(run(doubled).value, rel=1e-9)


def test_a_frame_in_any_order_of_rows_gives_the_same():
    p = panel()
    unit, period = np.divmod(np.arange(33 * 25), 25)
    frame = pd.DataFrame({"u": p.units[unit], "t": period, "y": p.outcome.ravel(), "a": p.adoption[unit]})
    built = [
        Panel.from_frame(f, unit="u", period="t", outcome="y", adoption="a")
        for f in (frame, frame.sample(frac=1, random_state=1))
    ]
    assert numbers(run(built[0])).tolist() == numbers(run(built[1])).tolist()
    assert_same(run(p), run(built[0]))


def test_event_studies_ignore_levels_and_scale_with_the_outcome():
    p = panel()
    rng = np.random.default_rng(0)
    moved = replace(p, outcome=2.0 * (p.outcome + rng.normal(0, 9, (33, 1)) + rng.normal(0, 9, (1, 25))))
    plain, other = (estimate_did_event_study(q, DIFFERENCE) for q in (p, moved))
    np.testing.assert_allclose(other.value, 2 * plain.value, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(other.covariance, 4 * plain.covariance, rtol=1e-7, atol=1e-12)


def test_bacon_ignores_levels_and_scales_with_the_outcome():
    p = panel(stagger=1)
    rng = np.random.default_rng(0)
    moved = replace(p, outcome=5.0 * (p.outcome + rng.normal(0, 9, (33, 1)) + rng.normal(0, 9, (1, 25))))
    plain, other = compute_bacon(p), compute_bacon(moved)
    np.testing.assert_allclose(other["estimate"], 5 * plain["estimate"], atol=1e-9)
    np.testing.assert_array_equal(other["weight"], plain["weight"])
