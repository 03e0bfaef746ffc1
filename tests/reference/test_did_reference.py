"""Two-way fixed effects, clustered errors and Goodman-Bacon decompositions against R on five real data sets.

R 4.2.2: lm, sandwich, fixest 0.11.2 and bacondecomp; relative tolerance 1e-6 throughout, since all is
deterministic. Conventions of clustered errors are named in each key: CR0; "fixest" (no unit effects
counted in K, as xtreg and reghdfe); "stata_areg" or "all_dummies" (every dummy counted).
"""

from __future__ import annotations

import functools
import math

import causaldata
import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.panel import Panel
from evalkit.estimators.area.bacon import compute_bacon
from evalkit.estimators.area.did import DidOptions, estimate_did, estimate_did_event_study
from evalkit.estimators.area.did_cells import build_cells, event_steps, static_exposure
from evalkit.estimators.area.twfe import Cells, Fit, compute_twfe
from tests.panels import DIFFERENCE
from tests.shared_data import reference, shared

EXACT = 1e-6
KINDS = {
    "treated_vs_untreated": "treated_vs_never",
    "earlier_vs_later_treated": "earlier_vs_later",
    "later_vs_earlier_treated": "later_vs_earlier",
}


def keys(name: str, *starts: str) -> list[str]:
    return [key for key in reference(name) if key.startswith(starts)] or ["absent"]


def assert_equals_r(name: str, key: str, got: float, *, rel: float = EXACT) -> None:
    assert got == pytest.approx(reference(name)[key], rel=rel, abs=0), f"{name}: {key}"


def static_cells(panel: Panel) -> Cells:
    exposed, kept = static_exposure(panel, anticipation_periods=0, exposure=None)
    return build_cells(panel, exposed[:, :, None], kept, family="gaussian", covariates=(), clusters=None)


def se(fit: Fit, which: int = 0) -> float:
    return math.sqrt(fit.covariance[which, which])


def bacon_number(table: pd.DataFrame, key: str) -> float:
    """The number that R's bacondecomp gives under this key."""
    part = key.removeprefix("bacon.")
    if part == "weighted_sum":
        return float((table["estimate"] * table["weight"]).sum())
    if part == "n_comparisons":
        return float(len(table))
    if part.startswith("pair."):
        _, treated, control, what = part.split(".")
        adopted, other = float(treated.removeprefix("treated")), control.removeprefix("control")
        against = table["control"].isna() if other == "Inf" else table["control"] == float(other)
        return float(table.loc[(table["treated"] == adopted) & against, what].item())
    kind, what = part.split(".")
    rows = table[table["kind"] == KINDS[kind]]
    weight = float(rows["weight"].sum())
    return weight if what == "weight" else float((rows["estimate"] * rows["weight"]).sum() / weight)


# Organ donations: causaldata carries the same file, so this runs for everyone. One treated state: its clustered
# errors are refused by `estimate_did`, and held to R's through the inner function, which judges nothing.
ORGAN = {
    "twfe.att": -0.0224589743589693,
    "twfe.se_cluster_CR0": 0.00590344407096871,
    "twfe.se_cluster_fixest": 0.00613123200564097,
    "twfe.se_cluster_stata_areg": 0.00672076552693934,
    "twfe.se_classical": 0.0204968579911468,
    "means.ca.before": 0.271333333333333,
    "means.ca.after": 0.2628,
    "means.other.before": 0.444930769230769,
    "means.other.after": 0.45885641025641,
    "event.Q42010": -0.0029423076923105,
    "event.Q42010.se_cluster_fixest": 0.00508417202616585,
    "event.Q12011": 0.0062961538461501,
    "event.Q12011.se_cluster_fixest": 0.00226575587678111,
    "event.Q32011": -0.0215653846153868,
    "event.Q32011.se_cluster_fixest": 0.0050337284197153,
    "event.Q42011": -0.0202923076923071,
    "event.Q42011.se_cluster_fixest": 0.00447333505166513,
    "event.Q12012": -0.0221653846153877,
    "event.Q12012.se_cluster_fixest": 0.0100132314344663,
    "placebo.from_Q12011": 0.00609038461538359,
    "placebo.from_Q12011.se_cluster_fixest": 0.00508812330126284,
    "placebo.from_Q22011": -0.00167692307692162,
    "placebo.from_Q22011.se_cluster_fixest": 0.00279683167991918,
    "n_obs": 162,
    "n_states": 27,
}  # R lm and sandwich::vcovCL, did_organ_donations/reference.R
QUARTERS = ["Q42010", "Q12011", "Q22011", "Q32011", "Q42011", "Q12012"]


def organ_panel(*, adopted: int = 4, last: int = 6) -> Panel:
    frame = causaldata.organ_donations.load_pandas().data
    frame = frame[frame["Quarter_Num"] <= last]
    adoption = np.where(frame["State"] == "California", float(adopted), np.nan)
    return Panel.from_frame(
        frame.assign(adoption=adoption), unit="State", period="Quarter_Num", outcome="Rate", adoption="adoption"
    )


def organ_number(key: str) -> float:
    part, *rest = key.split(".")
    if part == "twfe":
        conventions = {"CR0": "none", "fixest": "fixest", "stata_areg": "stata_areg"}
        if rest == ["att"]:
            return float(compute_twfe(static_cells(organ_panel())).coefficients[0])
        if rest == ["se_classical"]:
            return se(compute_twfe(static_cells(organ_panel()), errors="iid"))
        convention = conventions[rest[0].removeprefix("se_cluster_")]
        return se(compute_twfe(static_cells(organ_panel()), small_sample=convention))
    if part == "means":
        panel = organ_panel()
        side = panel.treated if rest[0] == "ca" else ~panel.treated
        return float(panel.values[side][:, :3].mean() if rest[1] == "before" else panel.values[side][:, 3:].mean())
    if part == "event":
        panel = organ_panel()
        steps, effects = event_steps(panel, reference=-1)
        everything = np.ones_like(panel.outcome, dtype=bool)
        fit = compute_twfe(build_cells(panel, effects, everything, family="gaussian", covariates=(), clusters=None))
        which = int(np.flatnonzero(steps == QUARTERS.index(rest[0]) - 3)[0])
        return float(fit.coefficients[which]) if len(rest) == 1 else se(fit, which)
    if part == "placebo":
        adopted = QUARTERS.index(rest[0].removeprefix("from_")) + 1
        fit = compute_twfe(static_cells(organ_panel(adopted=adopted, last=3)))
        return float(fit.coefficients[0]) if len(rest) == 1 else se(fit)
    return float(organ_panel().outcome.size if key == "n_obs" else len(organ_panel().units))


@pytest.mark.parametrize("key", ORGAN)
def test_organ_donations_equal_r(key):
    assert organ_number(key) == pytest.approx(ORGAN[key], rel=EXACT, abs=0)


@pytest.mark.parametrize("key", keys("did_organ_donations", ""))
def test_the_written_numbers_are_those_of_the_reference(key):
    shared("did_organ_donations")
    assert ORGAN[key] == pytest.approx(reference("did_organ_donations")[key], rel=1e-12)


# Castle doctrine from causaldata, for everyone: `post` is 1 from the year after adoption there.
CASTLE = {
    ("unweighted", "value"): 0.0818116169306461,
    ("unweighted", "fixest"): 0.058874218079223,
    ("unweighted", "stata_areg"): 0.0617535402939106,
    ("weighted", "value"): 0.0594441496432781,
    ("weighted", "fixest"): 0.0275695574484699,
    ("weighted", "stata_areg"): 0.0289178834526245,
}  # R fixest, did_castle/reference.R: twfe.post.*
CASTLE_BACON = {
    "bacon.weighted_sum": 0.0818116169306462,
    "bacon.n_comparisons": 25,
    "bacon.earlier_vs_later_treated.weight": 0.0597632516237167,
    "bacon.earlier_vs_later_treated.avg_estimate": -0.00554197875164369,
    "bacon.later_vs_earlier_treated.weight": 0.0318981772470145,
    "bacon.later_vs_earlier_treated.avg_estimate": 0.0703206344191049,
    "bacon.treated_vs_untreated.weight": 0.908338571129269,
    "bacon.treated_vs_untreated.avg_estimate": 0.0879624911679327,
    "bacon.pair.treated2006.controlInf.estimate": 0.0682358666149369,
    "bacon.pair.treated2006.controlInf.weight": 0.592394720301697,
    "bacon.pair.treated2008.control2009.estimate": -0.17988942563534,
    "bacon.pair.treated2009.control2008.weight": 0.000209511837418814,
}  # R bacondecomp, did_castle/reference.R


@functools.cache
def castle_for_all(weights: str | None = None) -> Panel:
    frame = causaldata.castle.load_pandas().data
    adopted = frame["year"].where(frame["post"] == 1).groupby(frame["sid"]).transform("min") - 1
    return Panel.from_frame(
        frame.assign(adopted=adopted),
        unit="sid",
        period="year",
        outcome="l_homicide",
        adoption="adopted",
        weights=weights,
    )


@pytest.mark.parametrize(("sample", "what"), CASTLE)
def test_castle_equals_r_for_everyone(sample, what):
    panel = castle_for_all("popwt" if sample == "weighted" else None)
    options = DidOptions(small_sample="fixest" if what == "value" else what)
    found = estimate_did(panel, DIFFERENCE, options=options)
    assert (found.value if what == "value" else found.se) == pytest.approx(CASTLE[sample, what], rel=EXACT, abs=0)


@pytest.mark.parametrize("key", CASTLE_BACON)
def test_castle_decomposition_equals_r_for_everyone(key):
    assert bacon_number(compute_bacon(castle_for_all()), key) == pytest.approx(CASTLE_BACON[key], rel=EXACT, abs=0)


# Castle doctrine with shares of the adoption year under the law, region-by-year effects and controls.
CONTROLS = (
    "blackm_15_24", "whitem_15_24", "blackm_25_44", "whitem_25_44", "l_exp_subsidy", "l_exp_pubwelfare", "l_police",
    "unemployrt", "poverty", "l_income", "l_prisoner", "l_lagprisoner",
)  # fmt: skip
# Of four regions and eleven years: the last region of each year and all of the first year follow from state and
# year effects. R drops them itself; a panel refuses them.
REGION_YEARS = tuple(f"r20{year:02d}{region}" for year in range(1, 11) for region in range(1, 4))


@functools.cache
def castle_panel(outcome: str, covariates: tuple[str, ...], weights: str | None) -> Panel:
    frame = pd.read_csv(shared("did_castle") / "data.csv")
    return Panel.from_frame(
        frame, unit="state", period="year", outcome=outcome, adoption="effyear", covariates=covariates, weights=weights
    )


# With weights of millions fixest 0.11.2 left one or two of the collinear region-year dummies in: its own ratio of the
# two conventions shows K two (controls: one) too high, and its errors are then off by up to 0.3%. The coefficients
# agree to 1e-12, and the dense sandwich of `test_weighted_region_years_equal_a_dense_sandwich` is met to 1e-9.
COLLINEAR_IN_R = {
    f"ch.log_homicide.weighted.{model}.{error}": 3e-3
    for model in ("region_year_fe", "region_year_fe_controls")
    for error in ("se_cluster_fixest", "se_cluster_all_dummies")
}


@pytest.mark.parametrize("key", keys("did_castle", "ch.", "twfe."))
def test_castle_regressions_equal_r(key):
    """Cheng and Hoekstra 2013, J. Human Resources 48:821, table 5 (published to 4 digits: 0.0801, 0.0946, 0.0937)."""
    shared("did_castle")
    kind, rest = key.split(".", 1)
    parts = rest.split(".")
    error = parts.pop() if parts[-1].startswith("se_") else ""
    weights = "popwt" if "weighted" in parts else None
    if kind == "twfe":
        panel, options = castle_panel("l_homicide", (), weights), DidOptions()
    else:
        outcome = {"log_homicide": "l_homicide"}.get(parts[0], parts[0])
        controls = CONTROLS if parts[2].endswith("controls") else ()
        covariates = (*controls, *(REGION_YEARS if parts[2].startswith("region") else ()))
        panel = castle_panel(outcome, ("cdl", *covariates), weights)
        options = DidOptions(exposure="cdl", covariates=covariates)
    if error == "se_cluster_all_dummies":
        options = DidOptions(exposure=options.exposure, covariates=options.covariates, small_sample="stata_areg")
    found = estimate_did(panel, DIFFERENCE, options=options)
    assert_equals_r("did_castle", key, found.se if error else found.value, rel=COLLINEAR_IN_R.get(key, EXACT))


@pytest.mark.parametrize("controls", [(), CONTROLS], ids=["region_years", "region_years_and_controls"])
def test_weighted_region_years_equal_a_dense_sandwich(controls):
    """Weighted least squares on every dummy by numpy, clustered by state, no state counted in K."""
    panel = castle_panel("l_homicide", ("cdl", *controls, *REGION_YEARS), "popwt")
    options = DidOptions(exposure="cdl", covariates=(*controls, *REGION_YEARS))
    found = estimate_did(panel, DIFFERENCE, options=options)
    states, years = panel.values.shape
    unit, year = np.divmod(np.arange(states * years), years)
    x = panel.covariates.reshape(states * years, -1)
    design = np.column_stack([x, unit[:, None] == np.arange(states), year[:, None] == np.arange(1, years)])
    root = np.sqrt(panel.weights.ravel())[:, None]
    beta, *_ = np.linalg.lstsq(root * design, root[:, 0] * panel.values.ravel(), rcond=None)
    residuals = panel.values.ravel() - design @ beta
    scores = np.stack([(design * (root[:, 0] ** 2 * residuals)[:, None])[unit == j].sum(axis=0) for j in range(states)])
    bread = np.linalg.inv((root * design).T @ (root * design))
    k = x.shape[1] + years
    factor = states / (states - 1) * (unit.size - 1) / (unit.size - k)
    assert found.value == pytest.approx(beta[0], rel=1e-9)
    assert found.se == pytest.approx(math.sqrt(factor * (bread @ scores.T @ scores @ bread)[0, 0]), rel=1e-8)


@pytest.mark.parametrize("key", keys("did_castle", "bacon."))
def test_castle_decomposition_equals_r(key):
    shared("did_castle")
    assert_equals_r("did_castle", key, bacon_number(compute_bacon(castle_panel("l_homicide", (), None)), key))


# Medicaid expansion and the county minimum wage.
@functools.cache
def medicaid() -> Panel:
    frame = pd.read_csv(shared("did_medicaid") / "data.csv")
    return Panel.from_frame(frame, unit="stfips", period="year", outcome="dins", adoption="yexp2")


@pytest.mark.parametrize("key", keys("did_medicaid", "twfe.", "bacon."))
def test_medicaid_equals_r(key):
    shared("did_medicaid")
    if key.startswith("bacon."):
        got = bacon_number(compute_bacon(medicaid()), key)
    else:
        found = estimate_did(medicaid(), DIFFERENCE)
        got = found.se if key.endswith("se_cluster_fixest") else found.value
    assert_equals_r("did_medicaid", key, got)


@pytest.mark.parametrize("key", keys("did_mpdta", "twfe."))
def test_minimum_wage_equals_r(key):
    frame = pd.read_csv(shared("did_mpdta") / "data.csv")
    frame["first.treat"] = frame["first.treat"].where(frame["first.treat"] > 0)
    panel = Panel.from_frame(frame, unit="countyreal", period="year", outcome="lemp", adoption="first.treat")
    convention = {"CR0": "none", "stata_areg": "stata_areg"}.get(key.rsplit("se_cluster_", 1)[-1], "fixest")
    found = estimate_did(panel, DIFFERENCE, options=DidOptions(small_sample=convention))
    assert_equals_r("did_mpdta", key, found.se if "se_" in key else found.value)


@pytest.mark.parametrize("data", ["castle", "medicaid"])
def test_the_decomposition_adds_to_the_regression(data):
    shared(f"did_{data}")
    panel = castle_panel("l_homicide", (), None) if data == "castle" else medicaid()
    table = compute_bacon(panel)
    assert table["weight"].sum() == pytest.approx(1, rel=1e-12)
    total = (table["estimate"] * table["weight"]).sum()
    assert total == pytest.approx(compute_twfe(static_cells(panel)).coefficients[0], rel=1e-9)


# Card and Krueger: a panel is balanced, so the stores seen in both waves; and the four state means.
def stores() -> pd.DataFrame:
    frame = pd.read_csv(shared("did_card_krueger") / "data.csv")
    return frame[frame["fte"].notna()].assign(adoption=frame["nj"].where(frame["nj"] == 1))


def balanced_stores() -> Panel:
    frame = stores()
    frame = frame[frame.groupby("id")["d"].transform("size") == 2]
    return Panel.from_frame(frame, unit="id", period="d", outcome="fte", adoption="adoption")


def state_means() -> Panel:
    frame = stores().groupby(["nj", "d"], as_index=False)["fte"].mean()
    frame["adoption"] = frame["nj"].where(frame["nj"] == 1)
    return Panel.from_frame(frame, unit="nj", period="d", outcome="fte", adoption="adoption")


@pytest.mark.parametrize("key", keys("did_card_krueger", "balanced."))
def test_card_and_krueger_balanced_stores_equal_r(key):
    panel = balanced_stores()
    change = panel.values[:, 1] - panel.values[:, 0]
    if key.endswith("se_classical"):
        got = se(compute_twfe(static_cells(panel), errors="iid"))
    elif key.endswith("se_HC1"):
        # HC0 of the regression in changes is CR0 of that in levels; HC1 multiplies by n/(n-2).
        n = len(panel.units)
        got = estimate_did(panel, DIFFERENCE, options=DidOptions(small_sample="none")).se * math.sqrt(n / (n - 2))
    elif key.endswith("n_stores"):
        got = len(panel.units)
    elif "mean_change" in key:
        got = change[panel.treated if key.endswith("nj") else ~panel.treated].mean()
    else:
        got = estimate_did(panel, DIFFERENCE).value
    assert_equals_r("did_card_krueger", key, got)


@pytest.mark.parametrize("key", ["did.all_available", "ols.nj_x_d"])
def test_card_and_krueger_state_means_equal_r(key):
    """The point estimate of all stores (2.7536; printed 2.76 from rounded cells) from the four means."""
    cells = static_cells(state_means())
    fit = compute_twfe(cells, errors="heteroskedastic", small_sample="none")
    assert_equals_r("did_card_krueger", key, fit.coefficients[0])


@pytest.mark.parametrize("state", ["pa", "nj"])
@pytest.mark.parametrize("wave", ["before", "after"])
def test_card_and_krueger_means_equal_r(state, wave):
    panel = state_means()
    got = panel.values[int(state == "nj"), int(wave == "after")]
    assert_equals_r("did_card_krueger", f"mean_fte.{state}.{wave}", got)


def test_event_study_of_many_adopters_is_marked_as_mixed():
    path = estimate_did_event_study(castle_for_all(), DIFFERENCE)
    failed = {c.name for c in path.checks if c.passed is False}
    assert {"staggered_adoption", "thin_steps"} <= failed
    assert np.isnan(path.se[path.steps == -9]).all()
