"""The area analyses by the path of the notebooks: what they give, refuse, and leave with the gate."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from evalkit.analysis.area import estimate_rates
from evalkit.analysis.bounds import _known_steps, describe_honest
from evalkit.analysis.designs import describe_gaps, describe_paths, design_panel, estimate_designs, whole_panel
from evalkit.analysis.robustness import (
    ROUNDED_TO,
    describe_displacement,
    describe_placebo_size,
    describe_robustness,
    estimate_early_starts,
    estimate_neighbourhood,
)
from evalkit.analysis.study import Study, open_study
from evalkit.core.estimand import Estimand
from evalkit.core.outcomes import AreaDesign, RateOutcome
from evalkit.core.protocol import load_protocol
from evalkit.core.result import Results
from evalkit.data.tables import open_tables
from evalkit.estimators.area.paths import EventStudy
from evalkit.estimators.area.registry import REGISTRY, find_estimator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study() -> Study:
    return open_study(ROOT / "protocols/ipsa.toml", ROOT / "data/synthetic/ipsa")


@pytest.fixture(scope="module")
def entry(study) -> RateOutcome:
    return study.protocol.outcome("residential_entry")


def test_every_design_of_the_protocol_stands_in_its_order(study, entry):
    found = estimate_designs(study, entry)
    assert [e.estimator for e in found] == list(study.protocol.robustness.designs)
    shown = [e for e in found if e.status == "shown"]
    assert all(e.n_events == events_of(study, entry) for e in shown)
    assert all(e.reason for e in found if e.status != "shown")
    refused = {e.estimator for e in found if e.status != "shown"}
    assert {"twfe_cluster", "callaway_santanna", "sun_abraham", "imputation"} <= refused
    assert {"did_permutation", "did_conformal", "synthetic_control", "synthetic_did"} <= {e.estimator for e in shown}


def events_of(study, outcome) -> float:
    panel = design_panel(study, outcome)
    mine, after = panel.outcome[panel.treated][0], panel.periods >= np.datetime64("2015-04-01")
    return min(mine[after].sum(), mine[~after].sum())


def test_names_in_protocols_are_those_of_the_registry(study):
    allowed = set(get_args(AreaDesign))
    named = {e.name for e in REGISTRY if "rate_ratio" in e.scales} - {"poisson_did_permutation"}
    assert allowed == named
    assert all(find_estimator(name) for name in study.protocol.robustness.placebo_sized)


def test_the_time_of_anticipation_belongs_to_neither_side(study, entry):
    whole, cut = whole_panel(study, entry), design_panel(study, entry)
    left_out = set(whole.periods.astype("datetime64[D]").tolist()) - set(cut.periods.astype("datetime64[D]").tolist())
    assert {str(d) for d in left_out} == {"2015-01-01"}


def test_tables_of_paths_have_the_layout_that_figures_read(study, entry):
    (gap,) = describe_gaps(study, entry)
    rows = gap.table("gap.residential_entry")
    assert rows["column"].nunique() == 33
    assert rows["column"].iloc[0] == "Lambeth"
    tables = {r.frame["table"].iloc[0]: r for r in describe_paths(study, entry)}
    assert set(tables) == {f"{name}.residential_entry" for name in ("synthetic", "weights", "its")}
    weights = tables["weights.residential_entry"].frame
    simplex = weights[weights["column"] == "synthetic_control"]["value"]
    assert simplex.sum() == pytest.approx(1)
    assert (simplex >= 0).all()
    its = tables["its.residential_entry"].frame
    after = its[(its["column"] == "counterfactual") & (its["row"] >= "2015-04")]
    assert after["lower"].notna().all()
    assert (its[its["column"] == "observed"]["n_events"] < 25).all()


def test_the_gap_of_the_synthetic_control_is_the_difference_of_its_paths(study, entry):
    rows = describe_gaps(study, entry)[0].frame
    mine = rows[rows["column"] == "Lambeth"].set_index("row")["value"]
    path = describe_paths(study, entry)[0].frame.pivot(index="row", columns="column", values="value")
    assert mine.to_numpy() == pytest.approx((path["observed"] - path["expected"]).reindex(mine.index).to_numpy())


def test_bounds_widen_with_m_and_say_where_they_break_down(study):
    days = study.protocol.outcome("rehab_ward_days")
    rows = describe_honest(study, days)[0].frame
    curve = rows[(rows["column"] == "relative_magnitude") & ~rows["row"].isin(["original", "breakdown"])]
    assert (np.diff(curve["upper"]) > 0).all()
    assert (np.diff(curve["lower"]) < 0).all()
    broken = rows[(rows["row"] == "breakdown") & (rows["column"] == "relative_magnitude")]["value"].iloc[0]
    holds = curve[curve["upper"] < 1]["row"].astype(float).max()
    assert holds <= broken <= curve[curve["upper"] >= 1]["row"].astype(float).min()


def test_bounds_need_a_year_before_besides_the_reference(study):
    rows = describe_honest(study, study.protocol.outcome("acute_ward_days"))[0].frame
    assert rows["status"].tolist() == ["not_estimable"]
    assert "no effect before adoption" in rows["reason"].iloc[0]


def test_steps_of_unknown_error_are_cut_off_at_both_ends():
    steps = np.array([-4, -3, -2, 0, 1, 2, 3])
    se = np.array([0.1, np.nan, 0.1, 0.1, 0.1, np.nan, 0.1])
    estimand = Estimand("a", "ATT", "b", None, "mean_difference")
    path = EventStudy(estimand, "x", steps, steps * 1.0, se, steps - 1.0, steps + 1.0, np.diag(se**2), -1, 0.95)
    kept = _known_steps(path)
    assert kept.steps.tolist() == [-2, 0, 1]
    assert kept.covariance.shape == (3, 3)
    assert np.isfinite(kept.covariance).all()


def test_displacement_starts_from_rounded_counts(study):
    rehab = study.protocol.outcome("rehab_admission")
    primary = [estimate_rates(study, o)[0] for o in study.protocol.outcomes_of("rate")]
    rows = describe_displacement(study, rehab, primary)[0].frame
    assert rows["row"].tolist() == [rehab.key, *rehab.displaced_to]
    first, ratio = rows.iloc[0], next(e for e in primary if e.estimand.outcome == rehab.key).value
    panel = whole_panel(study, rehab)
    after = panel.periods >= np.datetime64("2015-04-01")
    seen = panel.outcome[panel.treated][0, after].sum()
    assert seen % ROUNDED_TO  # else this test would say nothing
    expected = ROUNDED_TO * round(seen / ROUNDED_TO) / (13 / 4) * (1 - 1 / ratio)
    assert first["value"] == float(f"{expected:.2g}")
    assert first["lower"] < first["value"] < first["upper"]


def test_what_leaves_no_estimate_says_so_in_displacement(study):
    rehab = study.protocol.outcome("rehab_admission")
    rows = describe_displacement(study, rehab, [])[0].frame
    assert (rows["status"] == "not_estimable").all()
    assert rows["reason"].str.contains("not estimated").all()


def test_neighbours_and_dates_are_planned_variants_of_the_primary(study, entry):
    found = estimate_neighbourhood(study, entry)
    names = [e.estimator.removeprefix("poisson_did_permutation.") for e in found]
    assert names == ["without_neighbours", "on_neighbours"]
    assert all(study.protocol.is_planned(e.estimand.key, e.estimator) for e in found)
    early = estimate_early_starts(study, entry)
    assert [e.estimator.removeprefix("poisson_did_permutation.") for e in early] == ["anticipation.1", "anticipation.2"]
    assert all(study.protocol.is_planned(e.estimand.key, e.estimator) for e in early)
    on = found[1]
    assert on.lower < 1 < on.upper  # nothing was done to the neighbours


def test_each_area_is_left_out_once(study, entry):
    tables = {r.frame["table"].iloc[0].split(".")[0]: r.frame for r in describe_robustness(study, entry)}
    assert set(tables["drop_one"]["row"]) == {"none", *whole_panel(study, entry).units} - {"Lambeth"}
    flags = tables["xmr"][tables["xmr"]["column"] == "flag"]
    assert len(flags) == 25
    assert set(flags["value"]) <= {-1.0, 0.0, 1.0}
    assert tables["placebo_time"]["value"].notna().all()


def test_false_alarms_are_counted_for_the_designs_named(study, entry):
    rows = describe_placebo_size(study, entry)[0].frame
    assert rows["row"].tolist() == list(study.protocol.robustness.placebo_sized)
    assert (rows["value"].dropna() <= 0.25).all()
    quiet = replace_protocol(study, placebo_sized=())
    assert describe_placebo_size(quiet, entry) == []


def replace_protocol(study: Study, **changes: object) -> Study:
    robustness = study.protocol.robustness.model_copy(update=changes)
    return replace(study, protocol=study.protocol.model_copy(update={"robustness": robustness}))


@pytest.fixture(scope="module")
def staggered(tmp_path_factory) -> Study:
    """Twenty-four areas, nine of them treated in three different years; a rise of a quarter."""
    folder = tmp_path_factory.mktemp("staggered")
    rng = np.random.default_rng(8)
    names = [f"Area {i:02d}" for i in range(24)]
    starts = {name: pd.Timestamp(2006 + i % 3, 1, 1) for i, name in enumerate(names[:9])}
    years = [pd.Timestamp(year, 1, 1) for year in range(2000, 2011)]
    later = pd.Timestamp(2100, 1, 1)
    rows = [
        (name, year, "homicide", rng.poisson(100 if year >= starts.get(name, later) else 80), 1e6)
        for name in names
        for year in years
    ]
    counts = pd.DataFrame(rows, columns=["area", "period_start", "outcome", "count", "person_time"])
    areas = pd.DataFrame({"area": names, "population": 10**6, "adoption_date": [starts.get(n, pd.NaT) for n in names]})
    counts.to_parquet(folder / "area_counts.parquet", index=False)
    areas.to_parquet(folder / "areas.parquet", index=False)
    castle = load_protocol(ROOT / "examples/castle_doctrine/protocol.toml")
    places = castle.areas.model_copy(update={"treated": tuple(names[:9]), "donors": tuple(names[9:])})
    return Study(castle.model_copy(update={"areas": places}), open_tables(folder))


def test_staggered_adoption_has_its_designs_and_bounds(staggered):
    outcome = staggered.protocol.outcomes[0]
    found = {e.estimator: e for e in estimate_designs(staggered, outcome)}
    for name in ("callaway_santanna", "sun_abraham", "imputation", "twfe_cluster"):
        assert found[name].lower < 1.25 < found[name].upper, name
    assert "one adoption period" in found["synthetic_control"].reason
    rows = Results.concat(describe_honest(staggered, outcome)).frame
    original = rows[rows["row"] == "original"].iloc[0]
    assert original["lower"] < 1.25 < original["upper"]
    assert math.isfinite(original["value"])
    (gap,) = describe_gaps(staggered, outcome)
    assert gap.frame["status"].tolist() == ["not_estimable"]
