"""One list of area estimators: every one gives an honest number or says why not, on good panels and bad."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.errors import EvalkitError, NotEstimable, ParameterError
from evalkit.core.estimand import Scale
from evalkit.core.result import Estimate
from evalkit.estimators.area.registry import REGISTRY, AreaEstimator, estimators_for, find_estimator
from evalkit.simulate.panels import RATE_PANEL, PanelSettings, simulate_panel
from tests.panels import ESTIMAND, build_panel

ESTIMANDS = {s: replace(ESTIMAND, scale=s) for e in REGISTRY for s in e.scales}
EVERY = [pytest.param(e, s, id=f"{e.name}-{s}") for e in REGISTRY for s in e.scales]
# A simple difference of means, or a test by placement, needs no more than one period before.
ONE_PERIOD_BEFORE = ("poisson_did", "twfe", "did_permutation", "callaway", "sun_abraham", "imputation")
# These compare an area with itself, or with areas that are not treated yet.
NO_NEVER_TREATED = ("its_", "twfe", "callaway", "sun_abraham", "imputation", "controlled_its")
# These go through a thousand sets of areas where several are treated.
DEAR = ("synthetic_did", "ridge_augmented")
EVERY_SET = [
    pytest.param(e, s, id=f"{e.name}-{s}", marks=[pytest.mark.slow] if e.name in DEAR else [])
    for e in REGISTRY
    for s in e.scales
]
# A rate of nought cannot grow in proportion; it can grow by as much as the comparators' did.
MULTIPLICATIVE = ("poisson_did_permutation", "its_poisson", "controlled_its_poisson")


def draw(scale: Scale, *, seed: int = 3, **changes: object) -> pd.DataFrame:
    start = PanelSettings(effect=0.7) if scale.endswith("ratio") else replace(RATE_PANEL, effect=-1.0)
    return simulate_panel(replace(start, **changes), rng=np.random.default_rng(seed))[0]


def run(estimator: AreaEstimator, panel: Panel, scale: Scale) -> Estimate:
    return estimator.run(panel, ESTIMANDS[scale], 0.95, np.random.default_rng(1), "exploratory")


def assert_honest(found: Estimate, estimator: AreaEstimator) -> None:
    """A finite number with an interval round it, or with a failed check that says why there is none."""
    assert (found.estimator, found.label, found.role) == (estimator.name, estimator.label, "exploratory")
    assert math.isfinite(found.value)
    assert math.isnan(found.p_value) or 0 < found.p_value <= 1
    if math.isnan(found.lower) or math.isnan(found.upper):
        assert math.isnan(found.lower)
        assert math.isnan(found.upper)
        refusals = [c for c in found.checks if c.name == "interval" and c.passed is False]
        assert refusals, "no interval, and no check that says why"
        assert refusals[0].text.strip()
    else:
        assert found.lower <= found.value <= found.upper
        assert found.lower < found.upper
        assert 0.9 <= found.level < 1


def refused_or_downgraded(estimator: AreaEstimator, panel: Panel, scale: Scale) -> bool:
    """Whether it raises a named error; if it gives a number, that has to be honest."""
    try:
        found = run(estimator, panel, scale)
    except EvalkitError as refusal:
        assert all(fault.where and fault.what for fault in refusal.faults)
        return True
    assert_honest(found, estimator)
    return math.isnan(found.lower)


def test_names_are_unique_and_every_entry_says_what_it_is():
    names = [e.name for e in REGISTRY]
    assert len(set(names)) == len(names)
    assert len({e.label for e in REGISTRY}) == len(names)
    assert all(e.label and e.needs and e.scales for e in REGISTRY)


def test_an_unknown_name_is_answered_with_the_nearest():
    assert find_estimator("poisson_did_permutation") is REGISTRY[0]
    with pytest.raises(ParameterError, match='Did you mean "poisson_did_permutation"'):
        find_estimator("poison_did_permutation")


def test_estimators_for_a_scale_all_know_it():
    for scale in ESTIMANDS:
        assert estimators_for(scale)
        assert all(scale in e.scales for e in estimators_for(scale))
    assert estimators_for("risk_difference") == ()


@pytest.mark.parametrize("estimator", REGISTRY, ids=lambda e: e.name)
def test_a_scale_that_it_does_not_know_is_refused(estimator):
    panel = build_panel(draw("rate_ratio"))
    with pytest.raises(ParameterError, match="scale"):
        estimator.run(panel, replace(ESTIMAND, scale="risk_difference"), 0.95, np.random.default_rng(1), "primary")


@pytest.mark.parametrize(("estimator", "scale"), EVERY)
def test_a_good_panel_gets_an_honest_number_or_a_refusal(estimator, scale):
    panel = build_panel(draw(scale))
    try:
        found = run(estimator, panel, scale)
    except NotEstimable as refusal:
        assert refusal.reason
        return
    assert_honest(found, estimator)
    again = run(estimator, panel, scale)
    assert (again.value, again.lower, again.upper) == pytest.approx(
        (found.value, found.lower, found.upper), nan_ok=True
    )


@pytest.mark.parametrize(("estimator", "scale"), EVERY)
def test_with_three_comparators_no_number_is_dishonest(estimator, scale):
    refused_or_downgraded(estimator, build_panel(draw(scale, comparators=3)), scale)


@pytest.mark.parametrize(("estimator", "scale"), EVERY_SET)
def test_several_treated_areas_give_an_honest_number_or_a_named_refusal(estimator, scale):
    refused_or_downgraded(estimator, build_panel(draw(scale, treated=4)), scale)
    refused_or_downgraded(estimator, build_panel(draw(scale, treated=4, stagger=2)), scale)


@pytest.mark.parametrize(("estimator", "scale"), EVERY)
def test_an_area_alone_is_for_a_time_series_only(estimator, scale):
    panel = build_panel(draw(scale, comparators=0))
    if estimator.name.startswith("its_"):
        assert_honest(run(estimator, panel, scale), estimator)
    else:
        with pytest.raises(EvalkitError):
            run(estimator, panel, scale)


@pytest.mark.parametrize(("estimator", "scale"), EVERY)
def test_one_period_before_is_refused_by_what_needs_a_path(estimator, scale):
    refused = refused_or_downgraded(estimator, build_panel(draw(scale, before=1)), scale)
    assert refused or estimator.name.startswith(ONE_PERIOD_BEFORE)


@pytest.mark.parametrize(("estimator", "scale"), EVERY)
def test_everyone_treated_in_turn_is_refused_by_what_needs_the_never_treated(estimator, scale):
    panel = build_panel(draw(scale, treated=12, comparators=0, before=4, after=20, stagger=1))
    refused = refused_or_downgraded(estimator, panel, scale)
    assert refused or estimator.name.startswith(NO_NEVER_TREATED)


@pytest.mark.parametrize(("estimator", "scale"), EVERY)
def test_no_period_after_adoption_is_refused(estimator, scale):
    frame = draw(scale)
    frame["adoption"] += 24.5 - 12  # within the last period
    with pytest.raises(EvalkitError):
        run(estimator, build_panel(frame), scale)


@pytest.mark.parametrize(("estimator", "scale"), EVERY)
def test_an_outcome_without_variation_is_refused(estimator, scale):
    """Past the checks of the panel, as after a choice of units or periods."""
    panel = build_panel(draw(scale))
    with pytest.raises(EvalkitError):
        run(estimator, replace(panel, outcome=5 * panel.denominator), scale)


@pytest.mark.parametrize("estimator", estimators_for("rate_ratio"), ids=lambda e: e.name)
def test_no_event_before_adoption_is_refused_by_what_multiplies_rates(estimator):
    frame = draw("rate_ratio")
    frame.loc[frame["period"] < 12, "outcome"] = 0.0
    refused = refused_or_downgraded(estimator, build_panel(frame), "rate_ratio")
    assert refused or estimator.name not in MULTIPLICATIVE


@pytest.mark.parametrize("estimator", estimators_for("rate_ratio"), ids=lambda e: e.name)
def test_no_event_in_the_treated_area_is_an_honest_nought_or_a_refusal(estimator):
    frame = draw("rate_ratio")
    frame.loc[frame["adoption"].notna() & (frame["period"] >= 12), "outcome"] = 0.0
    refused_or_downgraded(estimator, build_panel(frame), "rate_ratio")


@pytest.mark.parametrize(("estimator", "scale"), EVERY)
def test_periods_left_out_are_used_as_they_are_or_refused(estimator, scale):
    """A gap never shifts the quarters after it: a time series refuses, the others leave the periods out."""
    panel = build_panel(draw(scale))
    gap = panel.without(8.0, 11.0)
    assert not gap.consecutive
    refused_or_downgraded(estimator, gap, scale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.assign(outcome=5.0), "the same in every"),
        (lambda d: d.assign(adoption=12.0), "every unit is treated"),
        (lambda d: d.assign(adoption=np.nan), "no unit is treated"),
        (lambda d: d.assign(outcome=np.inf), "missing or infinite"),
        (lambda d: d.assign(person_time=0.0), "not above 0"),
        (lambda d: d[1:], "not balanced"),
    ],
)
def test_bad_frames_reach_no_estimator(change, message):
    with pytest.raises(ParameterError, match=message):
        build_panel(change(draw("rate_ratio")))


def test_a_refusal_is_a_named_error():
    with pytest.raises(NotEstimable, match="too few"):
        run(REGISTRY[0], build_panel(draw("rate_ratio", comparators=3)), "rate_ratio")
