"""What every way of comparing balanced people must not depend on, one test over the whole registry."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from evalkit.core.dates import Window
from evalkit.core.errors import ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.pathway import PeopleDesign
from evalkit.estimators.people.people_registry import PEOPLE_REGISTRY, estimate_by_design
from tests.people_factory import make_comparison, make_frame

WINDOW = Window(dt.date(2015, 4, 1), dt.date(2016, 4, 1))
DAYS = Estimand("days", "ATT", "people", WINDOW, "mean_difference")
BOUNDS = (-50.0, 50.0)
every_design = pytest.mark.parametrize("design", get_args(PeopleDesign))


def people(n: int = 240, seed: int = 3):
    return make_comparison("mean", make_frame("mean", people=n, seed=seed))


def find(comparison, design, estimand=DAYS, bounds=BOUNDS):
    return estimate_by_design(comparison, estimand, design=design, bounds=bounds)


def numbers(found) -> tuple[float, float, float]:
    return found.value, found.lower, found.upper


def test_the_registry_holds_every_design_that_a_protocol_may_name():
    assert set(PEOPLE_REGISTRY) == set(get_args(PeopleDesign))


@every_design
def test_it_bears_its_own_name(design):
    found = find(people(), design)
    assert (found.estimator, found.label) == (design, PEOPLE_REGISTRY[design].label)
    assert found.lower < found.value < found.upper


@every_design
def test_the_order_of_people_does_not_matter(design):
    given = people()
    order = np.random.default_rng(1).permutation(len(given))
    assert numbers(find(given.select(order), design)) == pytest.approx(numbers(find(given, design)), rel=1e-6)


@every_design
def test_units_of_covariates_do_not_matter(design):
    given = people()
    scale = np.linspace(0.01, 100, given.covariates.shape[1])
    moved = replace(given, covariates=given.covariates * scale + 5)
    assert numbers(find(moved, design)) == pytest.approx(numbers(find(given, design)), rel=1e-5)


@every_design
def test_units_of_the_outcome_are_the_effects_units(design):
    given = people()
    weeks = replace(given, outcome=given.outcome / 7, before=given.before / 7)
    bounds = tuple(b / 7 for b in BOUNDS)
    assert np.array(numbers(find(weeks, design, bounds=bounds))) * 7 == pytest.approx(
        numbers(find(given, design)), rel=1e-5
    )


@every_design
def test_what_everybody_gets_is_no_effect(design):
    given = people()
    lifted = replace(given, outcome=given.outcome + 3)
    bounds = (BOUNDS[0] + 3, BOUNDS[1] + 3)
    assert numbers(find(lifted, design, bounds=bounds)) == pytest.approx(numbers(find(given, design)), rel=1e-5)


@every_design
def test_what_only_the_treated_get_is_the_effect(design):
    given = people()
    lifted = replace(given, outcome=given.outcome + 3 * given.treated)
    found, base = find(lifted, design, bounds=(BOUNDS[0], BOUNDS[1] + 3)), find(given, design, bounds=(-50.0, 53.0))
    # TMLE bends at its bounds; all others are straight.
    assert found.value - base.value == pytest.approx(3, abs=0.02 if design == "tmle" else 1e-6)


@every_design
def test_what_people_had_before_matters_to_change_alone(design):
    given = people()
    moved = replace(given, before=given.before + 4 * given.treated)
    change = find(moved, design).value - find(given, design).value
    assert change == pytest.approx(-4 if PEOPLE_REGISTRY[design].of_change else 0, abs=1e-6)


@every_design
def test_what_it_does_not_support_is_refused(design):
    entry = PEOPLE_REGISTRY[design]
    with pytest.raises(ParameterError, match="it has not this scale"):
        find(people(), design, replace(DAYS, scale="hazard_ratio"))
    for contrast in {"ATC", "ATE", "ATO"} - set(entry.contrasts):
        with pytest.raises(ParameterError, match="contrast"):
            find(people(), design, replace(DAYS, contrast=contrast))


def test_an_unknown_design_names_the_nearest():
    with pytest.raises(ParameterError, match='Did you mean "did_aipw"'):
        find(people(), "did_apw")
