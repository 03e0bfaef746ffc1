"""What people cost, on lives whose bill can be written out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.costs import build_costs
from evalkit.cohort.price_list import build_price_list
from evalkit.core.errors import DataError, NotEstimable, ProtocolError
from evalkit.core.protocol import protocol_from_text
from evalkit.data.tables import open_tables
from tests.data_factory import PROTOCOL, write_folder

PEOPLE = ["a", "b", "c"]
PRICES = {
    "ward_day.acute": ("day", 400.0, 2016), "ward_day.out_of_area": ("day", 350.0, 2016),
    "placement_week.residential_care": ("week", 700.0, 2016), "placement_week.own_tenancy": ("week", 0.0, 2016),
    "housing_week.own_tenancy": ("week", 70.0, 2016), "contact": ("contact", 50.0, 2016),
    "programme_week.ipsa": ("week", 140.0, 2016),
}  # fmt: skip


def unit_costs(**changed: tuple[str, float, int]) -> pd.DataFrame:
    prices = PRICES | {name.replace("__", "."): value for name, value in changed.items()}
    rows = [(name, unit, price, year, "assumed", False) for name, (unit, price, year) in prices.items()]
    return pd.DataFrame(rows, columns=["resource", "unit", "price_gbp", "price_year", "source", "verified"])


def folder(path, **changes):
    """Three people of Lambeth: on a ward and in a home; out of area and in a tenancy; in a home until death."""
    people = pd.DataFrame({
        "person_id": PEOPLE, "birth_year": [1970] * 3, "sex": ["female"] * 3, "ethnic_group": ["white"] * 3,
        "area": ["Lambeth"] * 3, "imd_decile": [5] * 3, "primary_diagnosis": ["F20"] * 3, "dual_diagnosis": [False] * 3,
        "forensic_history": [False] * 3, "death_date": pd.to_datetime([None, None, "2015-04-15"]),
    }).astype({"death_date": "datetime64[s]"})  # fmt: skip
    stays = pd.DataFrame({
        "stay_id": ["s1", "s2"], "person_id": ["a", "b"], "spell_id": ["h1", "h2"], "ward_type": ["acute", "acute"],
        "site": ["A", "B"], "start": ["2015-04-01", "2015-06-26"], "end": ["2015-04-11", "2015-07-06"],
        "admission_method": ["emergency"] * 2, "discharge_method": ["planned"] * 2,
        "discharge_destination": [None, None], "legal_status": ["informal"] * 2, "ready_date": [None, None],
        "out_of_area": [False, True],
    })  # fmt: skip
    places = pd.DataFrame({
        "placement_id": ["p1", "p2", "p3"], "person_id": PEOPLE, "setting": ["residential_care", "own_tenancy",
        "residential_care"], "start": ["2015-04-11", "2015-04-01", "2015-04-01"], "end": ["2015-05-09", None, None],
        "weekly_cost_gbp": [816.0, None, None], "funder": ["joint", "local_authority", "nhs"], "provider": [None] * 3,
    })  # fmt: skip
    contacts = pd.DataFrame({
        "person_id": ["a", "a"], "date": ["2015-05-01", "2015-05-02"], "team": ["x"] * 2, "kind": ["face"] * 2,
        "attended": [True, False],
    })  # fmt: skip
    episodes = pd.DataFrame({
        "person_id": ["b"], "programme": ["ipsa"], "component": ["x"], "start": ["2015-04-01"], "end": ["2015-04-15"],
    })  # fmt: skip
    dated = {"ward_stays": ("start", "end", "ready_date"), "placements": ("start", "end"), "contacts": ("date",),
             "programme_episodes": ("start", "end")}  # fmt: skip
    frames = {"people": people, "ward_stays": stays, "placements": places, "contacts": contacts,
              "programme_episodes": episodes, "unit_costs": unit_costs()}  # fmt: skip
    for name, columns in dated.items():
        for column in columns:
            frames[name][column] = pd.to_datetime(frames[name][column]).astype("datetime64[s]")
    only = (*frames, "price_index")
    return open_tables(write_folder(path, only=only, **(frames | changes)))


def protocol(perspective: str = "nhs_and_local_authority", economics: str = "price_year = 2016"):
    text = PROTOCOL.replace('perspective = "nhs_and_local_authority"', f'perspective = "{perspective}"')
    return protocol_from_text(text.replace("price_year = 2016", economics))


def costs(tables, spec):
    return build_costs(tables, spec, spec.outcome("public_cost"), pd.Series(PEOPLE))


def quarter(found, values, start="2015-04-01"):
    return values[:, list(found.starts).index(np.datetime64(start))]


def test_a_bill_written_out_by_hand(tmp_path):
    found = costs(folder(tmp_path), protocol())
    level = 1.02  # the index of 2016/17 over that of 2015/16, in which the placement of "a" began
    assert quarter(found, found.parts["wards"]) == pytest.approx([10 * 400, 5 * 350, 0])
    assert quarter(found, found.parts["placements"]) == pytest.approx([4 * 816 * level, 0, 2 * 700])
    assert quarter(found, found.standard_placements) == pytest.approx([4 * 700, 0, 2 * 700])
    assert quarter(found, found.parts["contacts"]) == pytest.approx([50, 0, 0])
    assert quarter(found, found.parts["programme"]) == pytest.approx([0, 2 * 140, 0])
    assert quarter(found, found.nhs_placements) == pytest.approx([2 * 816 * level, 0, 2 * 700])
    assert quarter(found, found.parts["wards"], "2015-07-01") == pytest.approx([0, 5 * 350, 0])
    assert "housing" not in found.parts
    assert quarter(found, found.housing) == pytest.approx([0, 13 * 70, 0])


def test_the_two_payers_pay_the_whole_and_the_public_sector_pays_for_housing_too(tmp_path):
    tables = folder(tmp_path)
    sides = {side: costs(tables, protocol(side)) for side in
             ("nhs", "local_authority", "nhs_and_local_authority", "public_sector")}  # fmt: skip
    both = sides["nhs_and_local_authority"]
    assert sides["nhs"].total + sides["local_authority"].total == pytest.approx(both.total)
    assert sides["nhs"].total == pytest.approx(both.nhs)
    assert sides["local_authority"].total == pytest.approx(both.local_authority)
    assert sides["nhs"].nhs == pytest.approx(sides["nhs"].total)
    assert sides["local_authority"].nhs == pytest.approx(0)
    assert sides["public_sector"].total == pytest.approx(both.total + both.housing)
    assert sides["public_sector"].local_authority == pytest.approx(both.local_authority)


def test_the_share_of_the_nhs_is_the_protocols(tmp_path):
    tables = folder(tmp_path)
    all_nhs = costs(tables, protocol(economics="price_year = 2016\njoint_nhs_share = 1.0"))
    assert quarter(all_nhs, all_nhs.local_authority) == pytest.approx([0, 0, 0])


def test_prices_of_other_years_are_put_in_money_of_the_price_year(tmp_path):
    tables = folder(tmp_path, unit_costs=unit_costs(ward_day__acute=("day", 400.0, 2014)))
    found = costs(tables, protocol())
    assert quarter(found, found.parts["wards"])[0] == pytest.approx(10 * 400 * 1.02**2)
    later = costs(tables, protocol(economics="price_year = 2018"))
    assert later.total == pytest.approx(found.total * 1.02**2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unit_costs": None}, "no table unit_costs"),
        ({"unit_costs": unit_costs().query("resource != 'ward_day.acute'")}, 'no price for "ward_day.acute"'),
        ({"unit_costs": unit_costs(contact=("contact", -1.0, 2016))}, 'price of "contact" is missing or negative'),
        ({"unit_costs": unit_costs(contact=("contact", 50.0, 1950))}, "does not reach this year. Got 1950"),
        ({"price_index": None}, "placements.start: money of other years than 2016"),
        ({"placements": None}, 'no table "placements"'),
        ({"price_index": lambda f: f.assign(level=0.0)}, "missing or not positive"),
        ({"placements": lambda f: f.assign(weekly_cost_gbp=-3.0)}, "some are below nought"),
    ],
)
def test_what_cannot_be_priced_is_refused_with_its_name(tmp_path, changes, said):
    if callable(changes.get("placements")):
        broken = folder(tmp_path / "b").read("placements").assign(weekly_cost_gbp=-3.0)
        changes = {"placements": broken}
    with pytest.raises(NotEstimable, match=said):
        costs(folder(tmp_path / "a", **changes), protocol())


def test_all_prices_that_lack_are_named_at_once(tmp_path):
    lacking = unit_costs(contact=("contact", np.nan, 2016), programme_week__ipsa=("week", -2.0, 2016))
    with pytest.raises(NotEstimable) as refused:
        build_price_list(folder(tmp_path, unit_costs=lacking), protocol())
    assert len(refused.value.faults) == 2


def test_the_public_sector_needs_a_price_of_housing(tmp_path):
    without = unit_costs().query("not resource.str.startswith('housing')")
    with pytest.raises(NotEstimable, match="housing_week"):
        costs(folder(tmp_path, unit_costs=without), protocol("public_sector"))


def test_another_currency_is_an_error_of_the_data(tmp_path):
    mixed = unit_costs().assign(currency=["EUR", *["GBP"] * (len(PRICES) - 1)])
    with pytest.raises(DataError, match="another currency than GBP"):
        folder(tmp_path / "a", unit_costs=mixed)
    assert folder(tmp_path / "b", unit_costs=unit_costs().assign(currency="gbp")).has("unit_costs")


@pytest.mark.parametrize(
    ("economics", "said"),
    [
        ("price_year = 2016\nprice_yeer = 3", 'Did you mean "price_year"'),
        ("discount_rate = 0.01", "price_year: this key is missing"),
        ("price_year = 2016\ndiscount_rate = 3.5", "discount_rate"),
        ("price_year = 2016\n[[economics.what_if]]\nkey = 'x'\nlabel = 'X'\npeople = 20", "between_place_sd"),
        ("price_year = 2016\n[[economics.valued]]\nkind = 'days'\nkey = 'x'\nlabel = 'X'\nplain = 'x'\n"
         "states = ['home']", "no state of \\[pathway\\]"),
        ("price_year = 2016\n[[economics.valued]]\nkind = 'score'\nkey = 'x'\nlabel = 'X'\nplain = 'x'\n"
         "instrument = 'DIALOG'\nutility_per_point = 0.1", "mapping to QALYs needs"),
    ],
)  # fmt: skip
def test_a_faulty_section_on_money_is_named(economics, said):
    with pytest.raises(ProtocolError, match=said):
        protocol(economics=economics)


def test_a_cost_without_a_year_of_prices_is_refused():
    with pytest.raises(ProtocolError, match=r"needs an \[economics\] section"):
        protocol_from_text(PROTOCOL.replace("[economics]\nprice_year = 2016\n", ""))


def test_no_price_is_needed_of_other_people_and_other_times(tmp_path):
    """A placement of a stranger, and one that ended before the study, began before the index does."""
    old = folder(tmp_path / "a").read("placements").iloc[[0, 0]].assign(placement_id=["p8", "p9"])
    old = old.assign(person_id=["somebody else", "a"], start=pd.Timestamp("1950-05-01"))
    old["end"] = pd.to_datetime([None, "1951-01-01"]).astype("datetime64[s]")
    before = folder(tmp_path / "a")
    rows = pd.concat([before.read("placements"), old], ignore_index=True)
    with_old = folder(tmp_path / "b", placements=rows.astype({"start": "datetime64[s]", "end": "datetime64[s]"}))
    assert costs(with_old, protocol()).total == pytest.approx(costs(before, protocol()).total, rel=1e-12)
