"""Staggered designs against R's did 2.1.2, fixest 0.11.2 and did2s, and against two Python packages.

`reference.json` holds R's numbers at full precision; tolerance 1e-6 relative but for what is said here.

* `group.overall.se`: did 2.1.2 passes the cohorts of the first cells where the cohorts are meant
  (compute.aggte.R, `selective.wif <- wif(keepers = 1:length(glist), ..., group = group)`), so that
  the error counts the wrong cohorts' sizes. Its number is equalled here by doing the same to our
  influence functions; that ours is right is tested by finite differences in tests/unit.
* `lpop.never.ipw.*.se`: did takes the logit's covariance from the last step but one of its iterations;
  with it our formula gives R's number to 1e-12. Tolerance 5e-6.
* `did_castle cs.*.weighted.*.se`: did hands raw populations (millions) to R's glm as weights; its first
  step overshoots, propensities end at machine precision and rounding enters the errors, by up to 1.4%.
  Estimates are not touched. Tolerance 2%; errors do not depend on the weights' scale (tests/unit).
* `wald_pretest_p` is rounded to five digits in R.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import causaldata
import numpy as np
import pandas as pd
import pytest
from diff_diff import CallawaySantAnna, ImputationDiD

from evalkit.cohort.panel import Panel
from evalkit.estimators.area.aggregate import AggregatedEffects, aggregate_effects
from evalkit.estimators.area.group_time import Aggregation, GroupTimeEffects, StaggeredOptions
from evalkit.estimators.area.staggered import estimate_group_time, estimate_staggered
from tests.panels import DIFFERENCE
from tests.shared_data import reference, shared

KINDS: tuple[Aggregation, ...] = ("simple", "dynamic", "group", "calendar")
MPDTA = {
    "nocov.never": StaggeredOptions(base="varying"),
    "nocov.notyet": StaggeredOptions(base="varying", controls="not_yet_treated"),
    "lpop.never.dr": StaggeredOptions(base="varying", covariates=("lpop",)),
    "lpop.never.reg": StaggeredOptions(base="varying", covariates=("lpop",), adjustment="regression"),
    "lpop.never.ipw": StaggeredOptions(base="varying", covariates=("lpop",), adjustment="weighting"),
    "lpop.notyet.dr": StaggeredOptions(base="varying", covariates=("lpop",), controls="not_yet_treated"),
    "nocov.never.universal": StaggeredOptions(base="universal"),
}
CONTROLS = {"nevertreated": "never_treated", "notyettreated": "not_yet_treated"}

mpdta = {k: v for k, v in reference("did_mpdta").items() if not k.startswith("twfe.")}
castle = {k: v for k, v in reference("did_castle").items() if k.startswith(("cs.", "sunab."))}
medicaid = {k: v for k, v in reference("did_medicaid").items() if k.startswith(("cs.", "sunab."))}


def castle_frame() -> pd.DataFrame:
    """Castle-doctrine laws; `post` there begins the year after adoption."""
    frame = causaldata.castle.load_pandas().data.astype(float)
    return frame.assign(adoption=frame["sid"].map(frame[frame["post"] == 1].groupby("sid")["year"].min() - 1))


def castle_panel(*, weights: str | None = None, covariates: tuple[str, ...] = ()) -> Panel:
    return Panel.from_frame(
        castle_frame(),
        unit="sid",
        period="year",
        outcome="l_homicide",
        adoption="adoption",
        weights=weights,
        covariates=covariates,
    )


def did_group_error(effects: GroupTimeEffects, group: AggregatedEffects) -> float:
    """The error of the "group" overall effect as did 2.1.2 has it, with its mixed-up cohorts."""
    units, count = len(effects.unit_cohort), len(group.at)
    shares = np.array([(effects.unit_weights * (effects.unit_cohort == k)).mean() for k in range(count)])
    cohort = [int(effects.cell_cohort[k]) for k in range(count)]  # of the first cells, not of the cohorts
    each = np.stack([effects.unit_weights * (effects.unit_cohort == k) for k in cohort], axis=1) - shares
    total = shares.sum()
    influence = each / total - np.outer(each.sum(axis=1), shares) / total**2
    whole = group.influence @ (shares / total) + influence @ group.value
    return float(np.sqrt((whole**2).sum()) / units)


def numbers(
    panel: Panel, options: StaggeredOptions, tag: str, *, kinds: Iterable[Aggregation], cells: str | None = None
) -> dict[str, float]:
    """Our numbers under R's names."""
    effects = estimate_group_time(panel, options=options)
    found = {f"{tag}.wald_pretest_stat": effects.pretest, f"{tag}.wald_pretest_p": effects.pretest_p}
    for g, t, value, se in zip(effects.group, effects.period, effects.value, effects.se, strict=True):
        found |= {f"{cells or tag}.att_gt.g{int(g)}.t{int(t)}": value}
        found |= {f"{cells or tag}.att_gt.g{int(g)}.t{int(t)}.se": se}
    for kind in kinds:
        whole = aggregate_effects(effects, DIFFERENCE, kind=kind, errors="analytic")
        found |= named(f"{tag}.{kind}", whole)
        if kind == "group":
            found[f"{tag}.group.overall.se"] = did_group_error(effects, whole)
    balanced = aggregate_effects(effects, DIFFERENCE, kind="dynamic", errors="analytic", balance=1)
    return found | named(f"{tag}.dynamic_balance_e1", balanced)


def named(tag: str, whole: AggregatedEffects, *, se: str = ".se") -> dict[str, float]:
    found = {f"{tag}.overall": whole.overall, f"{tag}.overall{se}": whole.overall_se}
    for at, value, error in zip(whole.at, whole.value, whole.se, strict=True):
        found |= {f"{tag}.{int(at)}": value, f"{tag}.{int(at)}{se}": error}
    return found


def sun_abraham(panel: Panel) -> dict[str, float]:
    effects = estimate_group_time(panel, options=StaggeredOptions(method="sun_abraham"))
    path = named(
        "sunab.event",
        aggregate_effects(effects, DIFFERENCE, kind="dynamic", errors="analytic"),
        se=".se_cluster_fixest",
    )
    whole = aggregate_effects(effects, DIFFERENCE, kind="simple", errors="analytic")
    return path | {"sunab.att": whole.overall, "sunab.att.se_cluster_fixest": whole.overall_se}


@cache
def mpdta_numbers() -> dict[str, float]:
    frame = pd.read_csv(shared("did_mpdta") / "data.csv")
    frame["adoption"] = frame["first.treat"].where(frame["first.treat"] > 0).astype(float)
    panel = Panel.from_frame(
        frame, unit="countyreal", period="year", outcome="lemp", adoption="adoption", covariates=("lpop",)
    )
    found = {}
    for tag, options in MPDTA.items():
        found |= numbers(panel, options, tag, kinds=KINDS)
    return found


@cache
def castle_numbers() -> dict[str, float]:
    found = sun_abraham(castle_panel())
    for controls, name in CONTROLS.items():
        for weighting, weights in (("unweighted", None), ("weighted", "popwt")):
            tag = f"cs.{controls}.{weighting}"
            options = StaggeredOptions(base="varying", controls=name)
            # R's effects by cohort and period are those of the plainest choice.
            cells = "cs" if tag == "cs.nevertreated.unweighted" else tag
            found |= numbers(castle_panel(weights=weights), options, tag, kinds=KINDS[:3], cells=cells)
    return found


@cache
def medicaid_numbers() -> dict[str, float]:
    frame = pd.read_csv(shared("did_medicaid") / "data.csv")
    panel = Panel.from_frame(frame, unit="stfips", period="year", outcome="dins", adoption="yexp2")
    found = sun_abraham(panel)
    for controls, name in CONTROLS.items():
        for base in ("varying", "universal"):
            options = StaggeredOptions(base=base, controls=name)
            found |= numbers(panel, options, f"cs.{controls}.{base}", kinds=KINDS)
    return found


@pytest.mark.parametrize("name", mpdta)
def test_mpdta(name):
    if name.endswith("_p"):
        assert mpdta_numbers()[name] == pytest.approx(mpdta[name], abs=5.1e-6)
    else:
        tolerance = 5e-6 if name.startswith("lpop.never.ipw") and name.endswith(".se") else 1e-6
        assert mpdta_numbers()[name] == pytest.approx(mpdta[name], rel=tolerance, abs=1e-12)


@pytest.mark.parametrize("name", castle)
def test_castle(name):
    tolerance = 2e-2 if ".weighted." in name and name.endswith(".se") else 1e-6
    assert castle_numbers()[name] == pytest.approx(castle[name], rel=tolerance, abs=1e-12)


@pytest.mark.parametrize("name", medicaid)
def test_medicaid(name):
    assert medicaid_numbers()[name] == pytest.approx(medicaid[name], rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cs.nevertreated.unweighted.simple.overall", 0.110383035457554),
        ("cs.nevertreated.unweighted.simple.overall.se", 0.0387242395021773),
        ("cs.nevertreated.weighted.simple.overall", 0.108176842877161),
        ("cs.notyettreated.unweighted.dynamic.overall", 0.109406533490143),
        ("cs.notyettreated.unweighted.dynamic.overall.se", 0.0369086971785385),
    ],
)
def test_castle_numbers_of_did_for_everyone(name, expected):
    """R did 2.1.2, analytic errors; tolerance 1e-6 relative."""
    assert castle_numbers()[name] == pytest.approx(expected, rel=1e-6)


def test_imputation_equals_the_published_number_of_did2s():
    """0.075142: documentation of R did2s, `did2s(castle, ..., weights = "popwt")`, six digits.

    The same estimator by two steps (Gardner 2021); its example counts treatment from the year after adoption.
    """
    frame = castle_frame()
    frame["adoption"] = frame["adoption"] + 1
    panel = Panel.from_frame(
        frame, unit="sid", period="year", outcome="l_homicide", adoption="adoption", weights="popwt"
    )
    found = estimate_staggered(panel, DIFFERENCE, options=StaggeredOptions(method="imputation"))
    assert found.value == pytest.approx(0.075142, abs=5e-7)


@pytest.mark.parametrize("covariates", [(), ("l_income", "poverty")])
def test_imputation_equals_diff_diff(covariates):
    """Estimates and conservative errors (Borusyak et al. 2024, theorem 3), diff-diff 3.13; 1e-7."""
    frame = castle_frame().assign(first=lambda d: d["adoption"].fillna(0).astype(int))
    peer = ImputationDiD().fit(
        frame, outcome="l_homicide", unit="sid", time="year", first_treat="first", covariates=list(covariates) or None
    )
    path = peer.aggregate("event_study").to_dataframe().set_index("event_time")
    effects = estimate_group_time(
        castle_panel(covariates=covariates), options=StaggeredOptions(method="imputation", covariates=covariates)
    )
    whole = aggregate_effects(effects, DIFFERENCE, kind="simple", errors="analytic")
    assert whole.overall == pytest.approx(peer.overall_att, rel=1e-7)
    assert whole.overall_se == pytest.approx(peer.overall_se, rel=1e-7)
    steps = aggregate_effects(effects, DIFFERENCE, kind="dynamic", errors="analytic")
    assert list(steps.at) == [0, 1, 2, 3, 4, 5]
    for at, value, se in zip(steps.at, steps.value, steps.se, strict=True):
        assert value == pytest.approx(path.loc[at, "att"], rel=1e-7)
        assert se == pytest.approx(path.loc[at, "se"], rel=1e-7)


@pytest.mark.parametrize("controls", ["never_treated", "not_yet_treated"])
@pytest.mark.parametrize("base", ["varying", "universal"])
@pytest.mark.parametrize("anticipation", [0, 1, 2])
def test_group_time_effects_with_anticipation_equal_diff_diff(controls, base, anticipation):
    """Every cell's estimate and error, diff-diff 3.13; 1e-9."""
    frame = castle_frame().assign(first=lambda d: d["adoption"].fillna(0).astype(int))
    peer = CallawaySantAnna(control_group=controls, base_period=base, anticipation=anticipation).fit(
        frame, outcome="l_homicide", unit="sid", time="year", first_treat="first"
    )
    effects = estimate_group_time(
        castle_panel(), options=StaggeredOptions(controls=controls, base=base, anticipation=anticipation)
    )
    assert len(effects.value) == len(peer.group_time_effects)
    for g, t, value, se in zip(effects.group, effects.period, effects.value, effects.se, strict=True):
        theirs = peer.group_time_effects[(int(g), int(t))]
        assert value == pytest.approx(theirs["effect"], rel=1e-9, abs=1e-12)
        if not np.isnan(se):
            assert se == pytest.approx(theirs["se"], rel=1e-9)


@pytest.mark.parametrize(
    ("controls", "group", "period", "value", "se"),
    [
        ("never_treated", 2006, 2001, 0.14382174372032835, 0.09110318249187994),
        ("never_treated", 2006, 2010, 0.13187876015827493, 0.06830101988416483),
        ("never_treated", 2007, 2008, -0.015899951501721563, 0.1484737747976945),
        ("not_yet_treated", 2006, 2001, 0.12185753899673658, 0.09764621795536946),
        ("not_yet_treated", 2006, 2010, 0.13187876015827493, 0.06830101988416483),
        ("not_yet_treated", 2007, 2008, -0.02347236040650945, 0.14466880401946927),
    ],
)
def test_covariates_that_change_over_time_equal_csdid(controls, group, period, value, se):
    """Doubly robust, universal base, log income and poverty read at the earlier period.

    csdid 0.4.3, `ATTgt(xformla="~ l_income + poverty", est_method="dr", base_period="universal")`; 1e-6.
    """
    effects = estimate_group_time(
        castle_panel(covariates=("l_income", "poverty")),
        options=StaggeredOptions(controls=controls, covariates=("l_income", "poverty")),
    )
    cell = (effects.group == group) & (effects.period == period)
    assert effects.value[cell][0] == pytest.approx(value, rel=1e-6)
    assert effects.se[cell][0] == pytest.approx(se, rel=1e-6)
