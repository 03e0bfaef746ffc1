"""The saving claimed on a budget against the saving estimated, by hand, and budgets that must be refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.core.errors import ParameterError
from evalkit.core.prices import PriceIndex
from evalkit.economics.budget import BudgetComparison, RealTerms, compare_budgets, spent_by_year
from evalkit.economics.effects import YearEffect
from evalkit.economics.payers import split_by_payer
from tests.effect_factory import Z, random_year, year


def table(years=(2015, 2016, 2017), original=12.0e6, actual=9.0e6, **more: object) -> pd.DataFrame:
    return pd.DataFrame(
        {"programme": "ipsa", "year": list(years), "original_gbp": original, "actual_gbp": actual} | more
    )


@pytest.fixture(scope="module")
def effects() -> list[YearEffect]:
    return [year(2015, 9000, 9900), year(2016, 8000, 10000), year(2017, 9000, 9000)]


@pytest.fixture(scope="module")
def found(effects) -> BudgetComparison:
    return compare_budgets(table(actual=[10.0e6, 8.0e6, 9.0e6]), effects, level=0.95)


def check(found: BudgetComparison, name: str):
    return {c.name: c for c in found.checks}[name]


def test_one_year_by_hand(found):
    row = found.nominal.years[1]
    assert (row.key, row.label, row.quarters) == ("2016", "2016/17", 4)
    assert row.claimed_saving_gbp == pytest.approx(4.0e6)
    assert row.claimed_share == pytest.approx(1 / 3)
    # 8.0m were spent; of each 8,000 spent 10,000 would have been: 10.0m, a saving of 2.0m or a fifth.
    assert row.counterfactual_gbp.value == pytest.approx(10.0e6)
    assert row.estimated_saving_gbp.value == pytest.approx(2.0e6)
    assert row.estimated_share.value == pytest.approx(0.2)
    low, high = 10.0e6 * math.exp(-Z * 0.1), 10.0e6 * math.exp(Z * 0.1)
    assert (row.counterfactual_gbp.lower, row.counterfactual_gbp.upper) == pytest.approx((low, high), rel=1e-9)
    assert (row.estimated_saving_gbp.lower, row.estimated_saving_gbp.upper) == pytest.approx((low - 8e6, high - 8e6))
    assert (row.estimated_share.lower, row.estimated_share.upper) == pytest.approx((1 - 8e6 / low, 1 - 8e6 / high))
    # Claimed less estimated is the old budget less what would have been spent.
    assert row.gap_gbp.value == pytest.approx(2.0e6)
    assert (row.gap_gbp.lower, row.gap_gbp.upper) == pytest.approx((12e6 - high, 12e6 - low))
    assert row.gap_share.value == pytest.approx(1 / 3 - 0.2)
    assert (row.claim_is, row.claimed_reason, row.estimated_reason) == ("inside", "", "")


def test_all_years_are_the_sums_and_their_spread_is_that_of_the_sum_in_each_draw(found):
    row = found.nominal.overall
    assert (row.key, row.quarters, row.original_gbp, row.actual_gbp) == ("all", 12, 36e6, 27e6)
    # 10 x 1.1 + 8 x 1.25 + 9 x 1.0 = 30.0 million.
    assert row.counterfactual_gbp.value == pytest.approx(30.0e6)
    assert row.estimated_share.value == pytest.approx(0.1)
    # The years' draws swing together, so the spread of the sum is that of each.
    assert row.counterfactual_gbp.upper == pytest.approx(30.0e6 * math.exp(Z * 0.1), rel=1e-9)


def test_years_that_swing_apart_have_a_narrower_sum(effects):
    apart = replace(effects[1], draws=np.roll(effects[1].draws, 1, axis=0))
    together = compare_budgets(table((2015, 2016)), effects[:2], level=0.95).nominal.overall.counterfactual_gbp
    parted = compare_budgets(table((2015, 2016)), [effects[0], apart], level=0.95).nominal.overall.counterfactual_gbp
    assert parted.value == pytest.approx(together.value)
    assert parted.upper - parted.lower < 0.2 * (together.upper - together.lower)


@pytest.mark.parametrize(("original", "word"), [(20.0e6, "above"), (12.0e6, "inside"), (8.0e6, "below")])
def test_where_the_claim_lies_is_computed_and_said(effects, original, word):
    found = compare_budgets(table((2016,), original, 9.0e6), effects[1:2], level=0.95)
    row = found.nominal.overall
    assert row.claim_is == word
    inside = row.estimated_share.lower <= row.claimed_share <= row.estimated_share.upper
    assert inside == (word == "inside")
    assert (row.gap_gbp.lower <= 0 <= row.gap_gbp.upper) == inside == (row.gap_share.lower <= 0 <= row.gap_share.upper)
    phrase = {"above": "larger than any", "inside": "lies in the range", "below": "smaller than any"}[word]
    assert phrase in check(found, "claim").text
    assert check(found, "claim").value == pytest.approx(row.claimed_share)


def test_an_extra_cost_is_a_saving_below_nothing():
    row = compare_budgets(
        table((2015,), 12e6, 12e6), [year(2015, 11000, 10000, log_sd=0.01)], level=0.95
    ).nominal.overall
    assert row.estimated_saving_gbp.upper < 0
    assert row.claimed_saving_gbp == 0
    assert row.claim_is == "above"


def test_budgets_that_do_not_cover_the_period_are_refused_in_their_year_and_in_the_whole(effects):
    found = compare_budgets(table((2015, 2019)), effects, level=0.95)
    assert found.nominal.years[0].claim_is != "not_compared"
    for row, label in zip(found.nominal.years[1:], ("2016/17", "2017/18"), strict=True):
        assert f"{label}: no original budget is given." in row.claimed_reason
        assert f"{label}: no actual budget is given." in row.estimated_reason
        assert math.isnan(row.claimed_saving_gbp) and math.isnan(row.estimated_saving_gbp.value)
    whole = found.nominal.overall
    assert whole.claim_is == "not_compared"
    assert math.isnan(whole.original_gbp) and math.isnan(whole.counterfactual_gbp.value)
    assert "2016/17" in whole.text and "2017/18" in whole.text and "cannot be set against" in whole.text
    cover = check(found, "budgets_cover_period")
    assert (cover.passed, cover.value) == (False, 2.0)
    assert cover.text == "The table budgets has no row for 2016/17, 2017/18."
    assert "2019/20" in check(found, "budgets_beyond_period").text


def test_a_year_partly_in_the_study_counts_pro_rata_and_says_so():
    found = compare_budgets(table((2018,), 12e6, 8e6), [year(2018, 8000, 10000, quarters=1)], level=0.95)
    row = found.nominal.overall
    assert (row.quarters, row.original_gbp, row.actual_gbp) == (1, 3e6, 2e6)
    assert row.estimated_saving_gbp.value == pytest.approx(0.5e6)
    assert row.claimed_share == pytest.approx(1 / 3)
    part = check(found, "years_whole")
    assert part.passed is False and "2018/19 (1 of 4 quarters)" in part.text
    assert check(compare_budgets(table((2018,)), [year(2018, 8000, 10000)], level=0.95), "years_whole").passed is True


@pytest.mark.parametrize(
    ("amount", "words"), [(0.0, "is 0"), (-1.0, "is negative"), (float("nan"), "is given"), (None, "is given")]
)
@pytest.mark.parametrize("kind", ["original", "actual"])
def test_zero_negative_and_missing_budgets_are_refused_where_their_number_would_stand(effects, amount, words, kind):
    values = [9.0e6, amount, 9.0e6]
    found = compare_budgets(table(**{kind: values}), effects, level=0.95)
    row, whole = found.nominal.years[1], found.nominal.overall
    for r in (row, whole):
        assert (
            words in r.claimed_reason and f"2016/17: {'no' if 'given' in words else 'the'} {kind}" in r.claimed_reason
        )
        assert math.isnan(r.claimed_saving_gbp) and math.isnan(r.claimed_share) and math.isnan(r.gap_gbp.value)
        assert math.isnan(r.original_gbp if kind == "original" else r.actual_gbp)
        # Without the old budget the saving can still be estimated; without what was spent it cannot.
        assert math.isfinite(r.estimated_saving_gbp.value) == (kind == "original")
    assert found.nominal.years[0].claim_is != "not_compared"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"actual": 0.0}, "cost nothing"),
        ({"counterfactual": 0.0}, "cost nothing"),
        ({"draws": np.vstack([np.zeros((1, 2)), np.ones((199, 2))])}, "in 1 of 200 draws nothing was spent"),
        ({"draws": np.full((200, 2), 9000.0)}, "the draws do not differ"),
    ],
)
def test_an_effect_without_a_ratio_refuses_the_estimate_and_leaves_the_claim(effects, change, words):
    found = compare_budgets(table(), [effects[0], replace(effects[1], **change), effects[2]], level=0.95)
    for row in (found.nominal.years[1], found.nominal.overall):
        assert words in row.estimated_reason and row.claimed_reason == ""
        assert row.claimed_share == pytest.approx(0.25)
        assert math.isnan(row.estimated_share.value) and row.claim_is == "not_compared"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"actual": -1.0}, "2016, actual: a cost is missing, infinite or negative"),
        ({"counterfactual": math.nan}, "2016, counterfactual: a cost is missing"),
        ({"actual": None}, "2016, actual: a cost is missing"),
        ({"quarters": 0}, "quarters of the year"), ({"quarters": 5}, "above 0, up to 4"),
        ({"year": 2016.5}, "a financial year is wanted"), ({"year": 2015}, "a year is given twice"),
        ({"draws": np.ones((200, 3))}, r"shape \(200, 3\)"), ({"draws": np.ones((50, 2))}, "too few for an interval"),
        ({"draws": [[1, 2]]}, "got list|Got list"),
        ({"draws": np.vstack([np.full((5, 2), -1.0), np.ones((195, 2))])}, "in 5 of 200 draws a cost"),
        ({"draws": np.vstack([np.full((5, 2), np.nan), np.ones((195, 2))])}, "in 5 of 200 draws a cost"),
        ({"draws": np.ones((300, 2))}, "not of one bootstrap"),
    ],
)  # fmt: skip
def test_negative_and_missing_costs_and_unusable_draws_are_refused_by_name(effects, change, match):
    with pytest.raises(ParameterError, match=match):
        compare_budgets(table(), [effects[0], replace(effects[1], **change), effects[2]], level=0.95)


def test_all_faults_are_said_at_once(effects):
    bad = [replace(effects[0], actual=-1.0), replace(effects[1], quarters=9, counterfactual=math.nan)]
    with pytest.raises(ParameterError) as caught:
        compare_budgets(table(), bad, level=0.95)
    assert len(caught.value.faults) == 3
    mixed = table(currency=["GBP", "EUR", None], original=["12,000", 1, 2])
    with pytest.raises(ParameterError) as caught:
        compare_budgets(mixed.assign(year=[2015, 2015, 2016]), effects, level=0.95)
    assert {f.where for f in caught.value.faults} == {"budgets, currency", "budgets, year", "budgets, original_gbp"}


@pytest.mark.parametrize(
    ("currency", "match"),
    [
        (["GBP", "EUR", "GBP"], r"several currencies are mixed. Got EUR, GBP"),
        ("USD", r"the currency is not pounds. Got USD"),
        (["GBP", None, "GBP"], "GBP, none given"),
    ],
)
def test_other_and_mixed_currencies_are_refused_by_name(effects, currency, match):
    with pytest.raises(ParameterError, match=match):
        compare_budgets(table(currency=currency), effects, level=0.95)


def test_pounds_said_to_be_pounds_are_taken(effects, found):
    said = compare_budgets(table(actual=[10.0e6, 8.0e6, 9.0e6], currency=" gbp"), effects, level=0.95)
    assert said.nominal == found.nominal


@pytest.mark.parametrize(
    ("budgets", "match"),
    [
        ([1, 2], "a pandas DataFrame is wanted"),
        (table().iloc[:0], "no rows"),
        (table().drop(columns="actual_gbp"), 'no column "actual_gbp"'),
        (table().rename(columns={"original_gbp": "original_eur"}), 'Did you mean "original_eur"'),
        (table(years=(2015, 2015, 2016)), "a year is given twice. Got 2015"),
        (table(years=(2015, 2016.5, 2017)), "missing or no whole number"),
        (table(original=["12m", "1", "2"]), "infinite or no numbers"),
        (table(actual=[math.inf, 1, 2]), "infinite or no numbers"),
        (table(original=[True, True, True]), "infinite or no numbers"),
        (table().assign(programme=["ipsa", None, "ipsa"]), "programme: some are missing"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_refused(effects, budgets, match):
    with pytest.raises(ParameterError, match=match):
        compare_budgets(budgets, effects, level=0.95)


def test_of_several_programmes_one_is_picked_by_the_caller(effects, found):
    own = table(actual=[10.0e6, 8.0e6, 9.0e6])
    both = pd.concat([own, table(actual=1.0).assign(programme="other")])
    with pytest.raises(ParameterError, match=r"several programmes are in the table. Got ipsa, other"):
        compare_budgets(both, effects, level=0.95)
    assert compare_budgets(both, effects, level=0.95, programme="ipsa").nominal == found.nominal
    with pytest.raises(ParameterError, match='Did you mean "ipsa"'):
        compare_budgets(both, effects, level=0.95, programme="ipso")


@pytest.mark.parametrize("level", [0, 1, 95, math.nan, None, True])
def test_a_level_outside_0_to_1_is_refused(effects, level):
    with pytest.raises(ParameterError, match="level: must lie between 0 and 1"):
        compare_budgets(table(), effects, level=level)


def test_draws_of_something_else_than_the_estimate_fail_a_check(effects):
    astray = replace(effects[1], counterfactual=20000.0)
    found = compare_budgets(table(), [effects[0], astray, effects[2]], level=0.95)
    assert check(found, "estimate_among_draws").passed is False
    assert "2016/17" in check(found, "estimate_among_draws").text


INDEX = PriceIndex.from_frame(pd.DataFrame({"year": [2014, 2015, 2016, 2017], "level": [100.0, 102.0, 105.0, 110.0]}))


def test_real_terms_put_an_old_budget_in_the_money_of_the_years_it_is_compared_with(effects, found):
    budgets = table(actual=[10.0e6, 8.0e6, 9.0e6])
    real = compare_budgets(budgets, effects, level=0.95, real_terms=RealTerms(INDEX, 2016, 2014)).real
    row = real.years[2]
    assert row.original_gbp == pytest.approx(12e6 * 1.05)
    assert row.actual_gbp == pytest.approx(9e6 * 105 / 110)
    assert row.claimed_share == pytest.approx(1 - (9 / 110) / (12 / 100))
    # The proportion estimated is the same in any money; prices alone make the old budget larger in real terms.
    assert row.estimated_share == found.nominal.years[2].estimated_share
    assert row.claimed_share > found.nominal.years[2].claimed_share
    assert real.overall.original_gbp == pytest.approx(3 * 12e6 * 1.05)


def test_budgets_set_in_their_own_years_money_keep_their_shares(effects, found):
    budgets = table(actual=[10.0e6, 8.0e6, 9.0e6])
    got = compare_budgets(budgets, effects, level=0.95, real_terms=RealTerms(INDEX, 2015))
    assert got.nominal == found.nominal
    for real, nominal in zip(got.real.years, found.nominal.years, strict=True):
        assert real.claimed_share == pytest.approx(nominal.claimed_share)
    assert got.real.years[1].actual_gbp == pytest.approx(8e6 * 102 / 105)


def test_without_an_index_real_terms_say_why_they_are_not_there(found):
    assert found.real.terms == "real"
    for row in (*found.real.years, found.real.overall):
        assert math.isnan(row.actual_gbp) and math.isnan(row.claimed_share)
        assert row.claimed_reason == row.estimated_reason == found.real.overall.claimed_reason
        assert "No price index is given" in row.text


def test_price_years_outside_the_index_are_refused_by_name(effects):
    with pytest.raises(ParameterError) as caught:
        compare_budgets(table(), effects, level=0.95, real_terms=RealTerms(INDEX, 2020, 2010))
    assert [(f.where, f.got) for f in caught.value.faults] == [("price_year", "2020"), ("original_price_year", "2010")]


def test_a_study_year_outside_the_index_is_refused_in_real_terms_and_stands_in_nominal(effects):
    later = [*effects, year(2018, 8000, 10000)]
    got = compare_budgets(table((2015, 2016, 2017, 2018)), later, level=0.95, real_terms=RealTerms(INDEX, 2016))
    assert math.isfinite(got.nominal.overall.claimed_share)
    assert math.isfinite(got.real.years[2].claimed_share)
    for row in (got.real.years[3], got.real.overall):
        assert row.claimed_reason == row.estimated_reason == "2018/19: the price index does not reach this year."


def test_no_sentence_holds_a_number_estimated_from_people(found):
    # Estimates leave through the gate as numbers of the results, never inside a sentence.
    texts = " ".join([c.text for c in found.checks] + [r.text for r in (*found.nominal.years, found.nominal.overall)])
    assert not any(ch.isdigit() for ch in texts)


def split(effects: list[YearEffect], shares: dict[str, tuple[float, float]], **more: object):
    payers = {
        name: [
            replace(e, actual=e.actual * a, counterfactual=e.counterfactual * c, draws=e.draws * [a, c])
            for e in effects
        ]
        for name, (a, c) in shares.items()
    }
    return split_by_payer(dict.fromkeys((e.year for e in effects), 9.0e6), effects, payers, level=0.95, **more)


def test_payers_whose_trends_are_that_of_the_whole_add_up_to_it(effects):
    got = split(effects, {"nhs": (0.6, 0.6), "council": (0.4, 0.4)})
    whole = compare_budgets(table(), effects, level=0.95).nominal.overall.estimated_saving_gbp
    assert (got.total_saving_gbp.value, got.total_saving_gbp.lower) == pytest.approx((whole.value, whole.lower))
    nhs, council = got.payers
    assert nhs.saving_gbp.value + council.saving_gbp.value == pytest.approx(whole.value)
    assert got.remainder_gbp.value == pytest.approx(0, abs=1e-6 * whole.value)
    assert got.uncovered_share == pytest.approx(0, abs=1e-12)
    assert nhs.own_share.value == pytest.approx(1 - 27 / (9 * (1.1 + 1.25 + 1.0)))
    # The whole may be no saving at all, so no share of it is given.
    assert math.isnan(nhs.share_of_saving) and "none at all" in nhs.share_reason


def test_the_remainder_is_returned_and_explained():
    effects = [year(2015, 8000, 10000, log_sd=0.02)]
    got = split(effects, {"nhs": (0.5, 0.7), "council": (0.5, 0.4)})
    # Of 9.0m spent, 4.5m each; without the service 11.25m in all, 7.875m and 4.5m by each payer's own trend.
    nhs, council = got.payers
    assert nhs.saving_gbp.value == pytest.approx(3.375e6)
    assert council.saving_gbp.value == pytest.approx(0, abs=1)
    assert got.total_saving_gbp.value == pytest.approx(2.25e6)
    assert got.remainder_gbp.value == pytest.approx(-1.125e6)
    # In each draw the remainder is -0.1 of the counterfactual, so its spread is a tenth of it.
    spread = np.std(11.25e6 * 0.1 * effects[0].draws[:, 1] / 10000, ddof=1)
    assert got.remainder_gbp.upper - got.remainder_gbp.lower == pytest.approx(2 * Z * spread)
    assert nhs.share_of_saving == pytest.approx(1.5) and nhs.share_reason == ""
    text = {c.name: c.text for c in got.checks}["remainder"]
    assert "need not add up" in text


def test_payers_that_leave_part_unpaid_fail_a_check(effects):
    got = split(effects, {"nhs": (0.6, 0.6)})
    assert got.uncovered_share == pytest.approx(0.4)
    assert {c.name: c.passed for c in got.checks}["payers_pay_all"] is False


def test_a_payer_that_pays_nothing_has_no_share_of_its_own(effects):
    got = split(effects, {"nhs": (1.0, 1.0), "council": (0.0, 0.0)})
    council = got.payers[1]
    assert council.saving_gbp.value == 0 and math.isnan(council.own_share.value)
    assert "paid nothing" in council.own_reason


def test_faults_of_a_split_are_said_at_once(effects):
    payers = {"nhs": effects[:2]}
    spent = {2015: -1.0, 2016: math.nan, 2017: 1e6}
    with pytest.raises(ParameterError) as caught:
        split_by_payer(spent, effects, payers, level=2)
    assert len(caught.value.faults) == 4
    with pytest.raises(ParameterError, match="no payer"):
        split_by_payer({2015: 1.0}, effects[:1], {}, level=0.95)
    with pytest.raises(ParameterError, match="nothing was spent"):
        split_by_payer({2015: 1.0}, [year(2015, 0, 1)], {"nhs": [year(2015, 0, 1)]}, level=0.95)
    with pytest.raises(ParameterError, match="not of one bootstrap"):
        split_by_payer({2015: 1.0}, effects[:1], {"nhs": [year(2015, 1, 1, n_draws=300)]}, level=0.95)


def test_what_was_spent_comes_from_the_comparison_or_is_refused(effects, found):
    assert spent_by_year(found.nominal) == {2015: 10e6, 2016: 8e6, 2017: 9e6}
    with pytest.raises(ParameterError, match="2016/17: no actual budget is given"):
        spent_by_year(compare_budgets(table((2015, 2017)), effects, level=0.95).nominal)


def test_the_interval_of_a_payer_is_that_of_its_draws():
    rng = np.random.default_rng(1)
    effects = [random_year(rng, 2015, 8000, 10000), random_year(rng, 2016, 8500, 10000)]
    own = [random_year(rng, 2015, 4000, 5500), random_year(rng, 2016, 4500, 5000)]
    found = split_by_payer({2015: 9e6, 2016: 8e6}, effects, {"nhs": own}, level=0.95)
    saved, rest = np.zeros(400), np.zeros(400)
    for spent, e, p in zip((9e6, 8e6), effects, own, strict=True):
        part = spent * (p.draws[:, 1] - p.draws[:, 0]) / e.draws[:, 0]
        saved += part
        rest += spent * (e.draws[:, 1] / e.draws[:, 0] - 1) - part
    got = found.payers[0].saving_gbp
    assert got.value == pytest.approx(9e6 * 1500 / 8000 + 8e6 * 500 / 8500)
    assert got.upper - got.value == pytest.approx(Z * saved.std(ddof=1))
    assert found.remainder_gbp.upper - found.remainder_gbp.value == pytest.approx(Z * rest.std(ddof=1))
