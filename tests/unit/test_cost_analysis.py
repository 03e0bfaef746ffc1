"""Costs and value of the default world: what must hold between its tables, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evalkit.analysis.budgets import compare_study_budgets
from evalkit.analysis.costs import find_cost_effect
from evalkit.analysis.study import open_study
from evalkit.analysis.value import find_value
from evalkit.analysis.worth import evaluate_costs
from evalkit.cohort.cohort import build_cohort
from evalkit.core.errors import NotEstimable
from evalkit.core.result import Results
from evalkit.economics.net_benefit import compute_plane

ROOT = Path(__file__).parents[2]
WORLD = ROOT / "data/synthetic/ipsa"
PROTOCOL = (ROOT / "protocols/ipsa.toml").read_text()
QUICK = PROTOCOL.replace("bootstrap_replicates = 2000", "bootstrap_replicates = 500").replace(
    "psa_draws = 5000", "psa_draws = 1000"
)


def study(path: Path, *, text: str = QUICK, without: tuple[str, ...] = (), **changed):
    """The default world with tables left out or changed."""
    path.mkdir(parents=True, exist_ok=True)
    for source in WORLD.glob("*.parquet"):
        if source.stem in changed:
            changed[source.stem](pd.read_parquet(source)).to_parquet(path / source.name, index=False)
        elif source.stem not in without:
            shutil.copy(source, path)
    (path / "protocol.toml").write_text(text)
    return open_study(path / "protocol.toml", path)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return study(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def found(opened):
    return evaluate_costs(opened, opened.protocol.outcome("public_cost"))


@pytest.fixture(scope="module")
def results(found) -> Results:
    estimates, tables, _ = found
    return Results.concat([Results.from_estimates(estimates), *tables])


def number(results: Results, table: str, row: str, column: str, what: str = "value") -> float:
    rows = results.table(table)
    return float(rows[(rows["row"] == row) & (rows["column"] == column)][what].iloc[0])


def test_use_and_price_add_up_to_the_effect(results):
    parts = [number(results, "cost_variants", row, "difference") for row in ("fixed_prices", "prices_alone")]
    whole = number(results, "cost_variants", "all", "difference")
    assert sum(parts) == pytest.approx(whole)
    primary = results.table("effects").query("role == 'primary'")
    assert whole == pytest.approx(float(primary["value"].iloc[0]))
    assert number(results, "cost_variants", "all", "difference", "lower") == pytest.approx(primary["lower"].iloc[0])


def test_what_the_payers_spent_adds_up(results):
    parts = [number(results, "cost_variants", f"payer.{name}", "actual") for name in ("nhs", "local_authority")]
    assert sum(parts) == pytest.approx(number(results, "cost_variants", "all", "actual"))


def test_all_prices_up_by_a_fifth_is_a_fifth_more_of_everything(results):
    low, all_, high = (number(results, "cost_variants", row, "difference")
                       for row in ("prices.all.low", "all", "prices.all.high"))  # fmt: skip
    assert (low, high) == (pytest.approx(0.8 * all_), pytest.approx(1.2 * all_))


def test_the_change_of_each_part_is_use_and_price(results):
    rows = results.table("cost_change").pivot(index="row", columns="column", values="value")
    for group in ("Lambeth", "Comparators"):
        own = rows[[c for c in rows if c.startswith(group)]].dropna()
        change = own[f"{group}|after"] - own[f"{group}|before"]
        assert np.allclose(change, own[f"{group}|volume"] + own[f"{group}|price"])
        less = own.drop(index="total").sum() - own.loc["total"]
        # Of the comparison fewer than ten had the programme: what they cost is withheld, and less than rounding.
        assert np.allclose(less, 0) if group == "Lambeth" else less.abs().max() < 5
    assert rows.loc["wards", "Lambeth|price"] == 0
    assert rows.loc["programme", [c for c in rows if c.startswith("Comparators")]].isna().all()


def test_the_years_weigh_to_the_whole(results):
    quarters = {"2015": 4, "2016": 4, "2017": 4, "2018": 1}
    spent = sum(number(results, "cost_variants", f"year.{y}", "actual") * n for y, n in quarters.items()) / 13
    assert spent == pytest.approx(number(results, "cost_variants", "all", "actual"))


def test_the_budget_table_is_its_own_arithmetic(results):
    for row in ("2015", "all", "all|real"):
        value = {c: number(results, "budget", row, c) for c in
                 ("original", "actual", "counterfactual", "claimed_saving", "estimated_saving", "gap")}  # fmt: skip
        assert value["claimed_saving"] == pytest.approx(value["original"] - value["actual"])
        assert value["estimated_saving"] == pytest.approx(value["counterfactual"] - value["actual"])
        assert value["gap"] == pytest.approx(value["claimed_saving"] - value["estimated_saving"])
    ratio = number(results, "cost_variants", "year.2015", "counterfactual")
    ratio /= number(results, "cost_variants", "year.2015", "actual")
    assert number(results, "budget", "2015", "counterfactual") == pytest.approx(
        number(results, "budget", "2015", "actual") * ratio
    )


def test_the_years_that_the_claim_is_about_are_added_up_apart(results):
    for column in ("original", "actual", "claimed_saving"):
        years = sum(number(results, "budget", year, column) for year in ("2016", "2017", "2018"))
        assert number(results, "budget", "from_year_2", column) == pytest.approx(years)
    saved = sum(number(results, "budget", year, "estimated_saving") for year in ("2016", "2017", "2018"))
    assert number(results, "budget", "from_year_2", "estimated_saving") == pytest.approx(saved)


def test_the_claim_is_set_beside_the_estimate(results):
    rows = results.table("budget").query("row == 'all' and column == 'estimated_saving'")
    assert "claimed" in rows["reason"].iloc[0]
    assert 0.20 < number(results, "budget", "all", "claimed_share") < 0.22


def test_the_plane_is_of_the_draws_and_the_curve_starts_at_the_share_that_saves(found, results):
    _, _, draws = found
    assert [one.valued.key for one in draws] == ["days_at_home", "days_in_own_tenancy", "dialog"]
    for one in draws:
        plane = compute_plane(one.psa, target="with the service", reference="without the service")
        assert number(results, "cea_plane", one.valued.key, "mean_cost") == pytest.approx(plane.mean_cost_gbp)
        cheaper = plane.share_se + plane.share_sw
        assert number(results, "ceac", f"{one.valued.key}|0", "probability") == pytest.approx(cheaper, abs=0.01)
    checks = results.table("checks.cea_plane").set_index("column")["unit"]
    assert checks["recorded"] == "failed"


def test_days_at_home_are_the_additive_difference_of_their_means(opened, results):
    findings = find_cost_effect(opened, opened.protocol.outcome("public_cost"))
    one = findings.means.pick({"discounted_days.days_at_home": 1.0})[0]
    effect = one[0] - one[1] - one[2] + one[3]
    error = number(results, "cea_plane", "days_at_home", "sd_effect")
    assert number(results, "cea_plane", "days_at_home", "mean_effect") == pytest.approx(effect, abs=0.2 * error)


def test_the_same_seed_gives_the_same_numbers(opened, results):
    again = evaluate_costs(opened, opened.protocol.outcome("public_cost"))
    frame = Results.concat([Results.from_estimates(again[0]), *again[1]]).frame
    pd.testing.assert_frame_equal(frame, results.frame)


def test_budgets_that_do_not_cover_the_years_are_refused_in_their_rows(tmp_path):
    short = study(tmp_path, budgets=lambda f: f[f["year"] < 2017])
    findings = find_cost_effect(short, short.protocol.outcome("public_cost"))
    budgets = compare_study_budgets(short, findings)
    assert "2017/18" in budgets.nominal.overall.estimated_reason
    assert np.isfinite(budgets.nominal.years[0].estimated_saving_gbp.value)
    assert not np.isfinite(budgets.nominal.years[2].estimated_saving_gbp.value)


@pytest.mark.parametrize(
    ("without", "table", "said"),
    [
        (("budgets",), "budget", "no table budgets"),
        (("assessments",), "cea_plane", "no table assessments"),
    ],
)
def test_a_table_that_lacks_is_said_where_its_number_would_stand(tmp_path, without, table, said):
    lacking = study(tmp_path, without=without)
    tables = {t.frame["table"].iloc[0]: t.frame for t in
              evaluate_costs(lacking, lacking.protocol.outcome("public_cost"))[1]}  # fmt: skip
    assert tables[table]["reason"].str.contains(said).any()
    assert tables["cost_relative"]["value"].notna().all()


def test_without_prices_nothing_but_the_reason_stands(tmp_path):
    lacking = study(tmp_path, without=("unit_costs",))
    estimates, tables, draws = evaluate_costs(lacking, lacking.protocol.outcome("public_cost"))
    assert ([e.status for e in estimates], tables, draws) == (["not_estimable"], [], [])
    assert "unit_costs" in estimates[0].reason


def test_two_groups_that_differ_by_a_few_people_are_not_both_told_of(opened, tmp_path):
    cohort = build_cohort(opened.tables, opened.protocol).people
    silent = set(cohort.loc[cohort["group"] == "Lambeth", "person_id"][:3])

    def all_but_three(frame: pd.DataFrame) -> pd.DataFrame:
        people = [p for p in pd.read_parquet(WORLD / "people.parquet")["person_id"] if p not in silent]
        dates = pd.to_datetime(["2014-06-01", "2016-06-01"]).astype(frame["date"].dtype)
        rows = pd.DataFrame({"person_id": np.tile(people, 2), "date": np.repeat(dates, len(people))})
        scores = np.random.default_rng(0).integers(1, 8, len(rows)).astype(float)
        return rows.assign(instrument="DIALOG", item="job", score=scores)[frame.columns]

    found = study(tmp_path, assessments=all_but_three)
    refused = find_value(found, find_cost_effect(found, found.protocol.outcome("public_cost")))[2]
    assert refused.psa is None
    assert "almost everybody has an answer" in refused.reason


def test_a_second_cost_outcome_has_tables_of_its_own(tmp_path):
    extra = """
[[outcomes]]
key = "nhs_cost"
kind = "cost"
perspective = "nhs"
label = "NHS cost"
plain = "what the NHS spent"
definition = "The same for the NHS alone."
better = "lower"
role = "sensitivity"
"""
    found = study(
        tmp_path, text=QUICK.replace("# ---- what the service says", extra + "\n# ---- what the service says")
    )
    parts = [t for o in found.protocol.outcomes_of("cost") for t in evaluate_costs(found, o)[1]]
    both = Results.concat(parts)
    assert len(both.table("cost_variants.nhs_cost")) > 0
    nhs = number(both, "cost_relative.nhs_cost", "nhs_cost", "actual")
    assert nhs == pytest.approx(number(both, "cost_variants", "payer.nhs", "actual"))
    refused = both.table("budget_payer.nhs_cost")
    assert refused["reason"].str.contains("one payer").all()


def test_a_wrong_price_year_is_a_refusal_not_a_crash(tmp_path):
    late = study(tmp_path, text=QUICK.replace("price_year = 2015", "price_year = 2035"))
    with pytest.raises(NotEstimable, match="2035"):
        find_cost_effect(late, late.protocol.outcome("public_cost"))
