"""What must not change an interrupted time series does not, and what must change it does so exactly."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.dates import Window
from evalkit.core.estimand import Estimand, Scale
from evalkit.core.result import Estimate
from evalkit.estimators.area.its import estimate_its
from evalkit.estimators.area.its_design import ItsOptions

ERRORS = ["reml_ar", "ml_ar", "prais_winsten", "newey_west", "model"]


def make_panel(units: int = 1) -> Panel:
    rng = np.random.default_rng(4)
    values = 50 + np.cumsum(rng.normal(size=(units, 25)), axis=1) * 0.5 + rng.normal(size=(units, 25))
    size = np.full_like(values, 20.0)
    adoption = np.where(np.arange(units) == 0, 12.0, np.nan)
    names = np.array([f"area {i}" for i in range(units)])
    return Panel(names, np.arange(25.0), np.round(values * size), size, adoption, np.empty((units, 25, 0)))


def estimate(panel: Panel, scale: Scale, **options: object) -> Estimate:
    asked = Estimand("entry", "ATT", "people", Window(dt.date(2015, 1, 1), dt.date(2018, 1, 1)), scale)
    return estimate_its(panel, asked, options=ItsOptions(**options))


def same(a: Estimate, b: Estimate, *, factor: float = 1.0, rel: float = 1e-6) -> None:
    for name in ("value", "se", "lower", "upper"):
        assert getattr(b, name) == pytest.approx(getattr(a, name) * factor, rel=rel, nan_ok=True), name


@pytest.mark.parametrize("errors", ERRORS)
@pytest.mark.parametrize("scale", ["level_change", "slope_change", "mean_difference"])
def test_adding_a_line_changes_no_effect(errors: str, scale: Scale) -> None:
    panel = make_panel()
    line = (7 + 3 * panel.periods) * panel.denominator
    # The optimiser of ml_ar stops where it is near enough.
    rel = 1e-3 if errors == "ml_ar" else 1e-6
    same(
        estimate(panel, scale, errors=errors),
        estimate(replace(panel, outcome=panel.outcome + line), scale, errors=errors),
        rel=rel,
    )


@pytest.mark.parametrize("errors", ERRORS)
def test_effects_scale_with_the_outcome_and_ratios_do_not(errors: str) -> None:
    panel = make_panel()
    tenfold = replace(panel, outcome=panel.outcome * 10)
    rel = 1e-4 if errors == "ml_ar" else 1e-6
    same(
        estimate(panel, "mean_difference", errors=errors),
        estimate(tenfold, "mean_difference", errors=errors),
        factor=10,
        rel=rel,
    )
    same(estimate(panel, "rate_ratio", errors=errors), estimate(tenfold, "rate_ratio", errors=errors), rel=rel)


@pytest.mark.parametrize("family", ["gaussian", "quasipoisson"])
def test_a_ratio_does_not_depend_on_the_unit_of_the_denominator(family: str) -> None:
    panel = make_panel()
    same(
        estimate(panel, "rate_ratio", family=family),
        estimate(replace(panel, denominator=panel.denominator / 1000), "rate_ratio", family=family),
    )


def test_multiplying_counts_by_a_trend_changes_no_ratio() -> None:
    panel = make_panel()
    grown = replace(panel, denominator=panel.denominator * np.exp(0.05 * panel.periods))
    for scale in ("level_ratio", "slope_ratio"):
        same(estimate(panel, scale, family="quasipoisson"), estimate(grown, scale, family="quasipoisson"))


def test_numbering_of_periods_does_not_matter() -> None:
    panel = make_panel()
    years = replace(panel, periods=panel.periods * 0.25 + 2012, adoption=panel.adoption * 0.25 + 2012)
    for scale in ("level_change", "slope_change"):
        same(estimate(panel, scale), estimate(years, scale))


@pytest.mark.parametrize("options", [{}, {"errors": "newey_west"}, {"family": "quasipoisson"}])
def test_order_and_names_of_controls_do_not_matter(options: dict) -> None:
    panel = make_panel(units=5)
    order = np.array([3, 0, 4, 2, 1])
    shuffled = Panel(
        np.array([f"other {i}" for i in range(5)]), panel.periods, panel.outcome[order], panel.denominator[order],
        panel.adoption[order], panel.covariates[order],
    )  # fmt: skip
    same(
        estimate(panel, "rate_ratio", control="pooled", **options),
        estimate(shuffled, "rate_ratio", control="pooled", **options),
    )


@pytest.mark.parametrize("errors", ["reml_ar", "newey_west", "model"])
def test_what_both_series_share_changes_no_controlled_effect(errors: str) -> None:
    panel = make_panel(units=4)
    shared = 5 * np.sin(panel.periods) * panel.denominator
    a = estimate(panel, "level_change", control="pooled", errors=errors)
    b = estimate(replace(panel, outcome=panel.outcome + shared), "level_change", control="pooled", errors=errors)
    assert b.value == pytest.approx(a.value, rel=1e-8)
    if errors == "reml_ar":
        same(a, b)


def test_later_untreated_units_do_not_matter_without_control() -> None:
    panel = make_panel(units=4)
    same(estimate(panel, "level_change"), estimate(panel.only(("area 0",)), "level_change"))
