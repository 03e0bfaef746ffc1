"""Money under attack: what a careless analyst may do to prices, periods and tables, and numbers got another way."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from evalkit.analysis.budget_tables import budget_tables
from evalkit.analysis.budgets import compare_study_budgets, project_impact
from evalkit.analysis.cost_study import STRADDLE, build_cost_study, compute_means, weigh_stay
from evalkit.analysis.cost_tables import relative_cells
from evalkit.analysis.cost_variants import build_variants
from evalkit.analysis.costs import check_parts, estimate_costs, find_cost_effect, tabulate_costs
from evalkit.analysis.value import find_value
from evalkit.cohort.price_list import build_price_list
from evalkit.core.errors import NotEstimable
from evalkit.core.prices import discount_factors, whole_years_since
from evalkit.data.quality import check_tables
from evalkit.estimators.costs.cells import MeanEffect
from tests.unit.test_cost_analysis import QUICK, WORLD, study
from tests.unit.test_person_costs import costs, folder, protocol, unit_costs

ADOPTION = np.datetime64("2015-04-01")


def public_cost(found):
    return found.protocol.outcome("public_cost")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return study(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def findings(opened):
    return find_cost_effect(opened, public_cost(opened))


# ---- prices and tables that are wrong --------------------------------------------------------------


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        (unit_costs(ward_day__acute=("week", 400.0, 2016)), '"ward_day.acute" is for another unit. Allowed: day'),
        (unit_costs(programme_week__ipsa=("day", 20.0, 2016)), "for another unit. Allowed: week"),
        (unit_costs().assign(resource=lambda f: f["resource"].where(f["resource"] != "contact")), "nothing that is"),
        (pd.concat([unit_costs(), unit_costs().head(1)]), "more than one price"),
        (unit_costs().assign(price_gbp=lambda f: f["price_gbp"].where(f["unit"] != "week")), "missing or negative"),
    ],
)
def test_prices_that_cannot_be_used_are_named(tmp_path, prices, said):
    with pytest.raises(NotEstimable, match=said):
        costs(folder(tmp_path, unit_costs=prices), protocol())


def test_a_price_of_which_nobody_said_whether_it_was_seen_is_not_verified(tmp_path):
    prices = unit_costs().assign(verified=[None, *[True] * (len(unit_costs()) - 1)]).astype({"verified": "boolean"})
    rows = build_price_list(folder(tmp_path, unit_costs=prices), protocol()).rows
    assert rows["verified"].dtype == bool
    assert list(rows.loc[~rows["verified"], "resource"]) == [unit_costs()["resource"].iloc[0]]


@pytest.mark.parametrize(
    ("column", "value", "said"), [("funder", "council", "placements.funder"), ("start", pd.NaT, "placements.start")]
)
def test_placements_of_no_known_payer_or_date_are_refused_not_left_out(tmp_path, column, value, said):
    rows = folder(tmp_path / "a").read("placements")
    rows[column] = rows[column].where(rows["placement_id"] != "p1", value)
    with pytest.raises(NotEstimable, match=said):
        costs(folder(tmp_path / "b", placements=rows), protocol())


def test_people_who_stand_in_the_table_twice_are_refused_not_reindexed(tmp_path):
    people = folder(tmp_path / "a").read("people")
    with pytest.raises(NotEstimable, match="stand in the table twice"):
        costs(folder(tmp_path / "b", people=pd.concat([people, people.head(1)])), protocol())


def test_the_check_of_the_data_finds_a_price_for_another_unit(tmp_path):
    folder(tmp_path, unit_costs=unit_costs(ward_day__acute=("week", 400.0, 2016)))
    found = [f for f in check_tables(tmp_path).findings if f.what == "wrong_unit"]
    assert [f.severity for f in found] == ["error"]
    assert "ward_day (day)" in found[0].text


@pytest.mark.parametrize(("perspective", "without"), [("nhs", "ward_stays"), ("local_authority", "placements")])
def test_the_check_of_the_data_asks_for_what_the_perspective_prices(tmp_path, perspective, without):
    folder(tmp_path, **{without: None})
    texts = [f.text for f in check_tables(tmp_path, protocol(perspective)).findings if f.what == "table_missing"]
    assert any("public_cost" in text and without in text for text in texts)
    folder(tmp_path / "other", **{"placements" if without == "ward_stays" else "ward_stays": None})
    found = check_tables(tmp_path / "other", protocol(perspective)).findings
    assert not any("public_cost" in f.text for f in found if f.what == "table_missing")


# ---- parts that are not there ----------------------------------------------------------------------


def test_a_programme_that_is_not_recorded_fails_a_check_and_refuses_what_rests_on_its_cost(tmp_path):
    lacking = study(tmp_path, without=("programme_episodes",))
    found = find_cost_effect(lacking, public_cost(lacking))
    check = check_parts(found.found)
    assert (check.passed, check.value) == (False, 1.0)
    assert "the programme itself" in check.text
    days = [one for one in find_value(lacking, found) if one.valued.kind == "days"]
    assert all(one.psa is None and "programme_episodes" in one.reason for one in days)
    with pytest.raises(NotEstimable, match="what it takes to run it is not known"):
        project_impact(lacking, found)


def test_every_part_recorded_passes(findings):
    assert check_parts(findings.found).passed


def test_a_perspective_of_one_payer_has_no_row_of_the_public_sector(tmp_path):
    text = QUICK.replace('perspective = "nhs_and_local_authority"', 'perspective = "nhs"')
    one = study(tmp_path, text=text)
    tables = {t.frame["table"].iloc[0]: t.frame for t in tabulate_costs(one, find_cost_effect(one, public_cost(one)))}
    assert "public_sector" not in set(tables["cost_variants"]["row"])


def test_an_original_budget_of_nought_has_no_gap_and_says_so(tmp_path):
    nought = study(tmp_path, budgets=lambda f: f.assign(original_gbp=f["original_gbp"].where(f["year"] != 2016, 0.0)))
    cells = {
        (c.row, c.column): c for c in budget_tables(nought, find_cost_effect(nought, public_cost(nought)))["budget"]
    }
    for row in ("2016", "all", "2016|real"):
        assert (cells[row, "gap"].status, np.isnan(cells[row, "gap"].value)) == ("not_estimable", True)
        assert "2016/17: the original budget is 0" in cells[row, "gap"].reason
    assert all(np.isfinite(c.value) for c in cells.values() if c.status == "shown")


def test_a_mean_of_nought_in_a_draw_refuses_the_share_and_nothing_else():
    found = SimpleNamespace(outcome=SimpleNamespace(key="cost"), treated=np.ones(30, dtype=bool))
    effect = MeanEffect(10.0, 12.0, np.array([[10.0, 12.0], [-1.0, 11.0], [9.0, 12.0]]))
    cells = {c.column: c for c in relative_cells(found, effect, 0.95)}
    assert (cells["actual"].value, cells["counterfactual"].value) == (10.0, 12.0)
    assert cells["relative_change"].status == "not_estimable"
    assert "nought or below" in cells["relative_change"].reason


def test_costs_that_do_not_differ_between_people_have_no_interval(tmp_path):
    people = pd.read_parquet(WORLD / "people.parquet")["person_id"]

    def same_for_all(frame: pd.DataFrame) -> pd.DataFrame:
        ids = [f"{place}" for place in range(len(people))]
        row = {"ward_type": "acute", "out_of_area": False, "start": dt.date(2012, 4, 1), "end": dt.date(2018, 7, 1)}
        rows = pd.concat([frame.head(1)] * len(people), ignore_index=True)
        return rows.assign(person_id=people.to_numpy(), stay_id=ids, spell_id=ids, **row)

    def nothing(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.iloc[:0]

    equal = study(tmp_path, ward_stays=same_for_all, placements=nothing, contacts=nothing, programme_episodes=nothing,
                  people=lambda f: f.assign(death_date=None))  # fmt: skip
    estimates = estimate_costs(equal, public_cost(equal))
    assert [e.status for e in estimates] == ["not_estimable"]
    assert "do not differ between people" in estimates[0].reason


# ---- time ------------------------------------------------------------------------------------------


def test_years_pass_by_the_calendar_whether_or_not_one_of_them_has_a_leap_day():
    for year in (2014, 2015, 2016, 2019):
        day = dt.date(year, 4, 1)
        later = np.array([f"{year + k}-04-01" for k in range(5)], dtype="datetime64[D]")
        assert list(whole_years_since(day, later)) == [0, 1, 2, 3, 4]
        assert list(whole_years_since(day, later - 1)) == [0, 0, 1, 2, 3]
    inside = np.array(["2016-04-01", "2016-06-01"], dtype="datetime64[D]")
    assert list(whole_years_since(dt.date(2015, 5, 15), inside)) == [0, 1]


def test_the_second_year_is_discounted_from_its_first_quarter_on(tmp_path):
    later = study(tmp_path, text=QUICK.replace("adoption = 2015-04-01", "adoption = 2016-04-01"))
    found = build_cost_study(later, public_cost(later))
    after = found.discount[found.costs.starts >= np.datetime64("2016-04-01")]
    assert after == pytest.approx(discount_factors(np.arange(len(after)) // 4, 0.035))


@pytest.mark.parametrize(
    ("start", "period", "baseline"), [("2012-01-01", "year", "2013-01-01"), ("2012-02-01", "quarter", "2014-01-01")]
)
def test_periods_that_straddle_financial_years_have_no_budget(tmp_path, start, period, baseline):
    text = QUICK.replace("study_start = 2012-04-01", f"study_start = {start}").replace(
        'period = "quarter"', f'period = "{period}"'
    )
    text = text.replace("baseline_start = 2014-01-01", f"baseline_start = {baseline}")
    odd = study(tmp_path, text=text)
    found = find_cost_effect(odd, public_cost(odd))
    assert np.isfinite(found.effect.difference)
    with pytest.raises(NotEstimable, match="straddle financial years"):
        compare_study_budgets(odd, found)
    with pytest.raises(NotEstimable, match="straddle financial years"):
        project_impact(odd, found)
    rows = [v for v in build_variants(odd, found.found, found.means, found.effect) if v.key.startswith("year")]
    assert [(v.key, v.effect, STRADDLE in v.reason) for v in rows] == [("years", None, True)]


# ---- the same numbers another way ------------------------------------------------------------------


def four_means(found, before: np.ndarray, after: np.ndarray) -> tuple[float, float, float, float]:
    """Cells with odds from statsmodels."""
    one = found.treated
    model = sm.Logit(one.astype(float), sm.add_constant(found.covariates.astype(float)))
    share = np.asarray(model.fit(disp=0, method="newton", tol=1e-12).predict())
    odds = (share / (1 - share))[~one]
    return (after[one].mean(), before[one].mean(), np.average(after[~one], weights=odds),
            np.average(before[~one], weights=odds))  # fmt: skip


def test_the_effect_and_its_discounted_form_are_those_of_a_plain_calculation(findings):
    found, total = findings.found, findings.found.costs.total
    base = total[:, found.before].mean(axis=1)
    a, b, c, d = four_means(found, base, total[:, found.after].mean(axis=1))
    assert findings.effect.difference == pytest.approx(a - b * c / d, rel=1e-8)
    a, b, c, d = four_means(found, base, (total * found.discount)[:, found.after].mean(axis=1))
    cells = findings.means.pick({f"discounted.{name}": 1.0 for name in found.costs.parts})[0]
    assert cells[0] - cells[1] * cells[2] / cells[3] == pytest.approx(a - b * c / d, rel=1e-8)


def test_discounted_days_are_the_effect_of_each_period_times_what_it_was_worth(findings):
    """Where groups differ from the start, to discount only what lies after would count the difference as an effect."""
    found, days = findings.found, findings.found.valued["days_at_home"]
    base, worth = days[:, found.before].mean(axis=1), found.discount[found.after]
    effects = []
    for place in np.flatnonzero(found.after):
        a, b, c, d = four_means(found, base, days[:, place])
        effects.append(a - b - c + d)
    cells = findings.means.pick({"discounted_days.days_at_home": 1.0})[0]
    assert cells[0] - cells[1] - cells[2] + cells[3] == pytest.approx(np.mean(effects * worth), rel=1e-8)
    assert abs(np.mean(effects * worth) - np.mean(effects)) > 1e-3


def test_weights_for_those_who_left_count_days_from_adoption_though_it_falls_within_a_quarter(tmp_path):
    text = QUICK.replace("adoption = 2015-04-01", "adoption = 2015-05-15")

    def leave(frame: pd.DataFrame) -> pd.DataFrame:
        """Every fifth person leaves in June 2015, between adoption and the first whole quarter after it."""
        chosen = np.arange(len(frame)) % 5 == 0
        ends = pd.to_datetime(frame["end"])
        gone = chosen & ends.isna() & (pd.to_datetime(frame["start"]) < "2015-06-01")
        return frame.assign(end=frame["end"].where(~gone, dt.date(2015, 6, 10)))

    found = build_cost_study(*(lambda s: (s, public_cost(s)))(study(tmp_path, text=text, residence=leave)))
    weights, reason = weigh_stay(found)
    assert reason == ""
    days, known = found.people["followed_days"].to_numpy(), found.people["complete"].to_numpy()
    end = int((found.costs.ends[found.after][0] - np.datetime64("2015-05-15")).astype(int))
    for side in (found.treated, ~found.treated):
        still = 1.0
        for day in np.unique(days[side & ~known & (days < end)]):
            lost = (side & ~known & (days == day)).sum()
            still *= 1 - lost / (lost + (side & (days > day)).sum())
        through = side & (days >= end)
        assert still < 0.9
        assert weights[through, 0] == pytest.approx(1 / still)
        assert (weights[side & ~known & (days < end), 0] == 0).all()


def test_draws_repeat(opened, findings):
    again = compute_means(opened, findings.found)
    assert np.array_equal(again.values, findings.means.values)
