"""What the reports say of places, returns and kinds of people follows the numbers, whichever way they fall."""

from __future__ import annotations

import json
import math
import re
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from evalkit.core.estimand import Estimand, Scale
from evalkit.core.pathway import DAYS_IN_HOSPITAL, PLACE_LABELS, RECURRENCE, SUBGROUP_LABELS
from evalkit.core.protocol import Protocol, load_protocol
from evalkit.core.result import Cell, Check, Estimate, Results, not_estimable
from evalkit.disclose import Release, policy, release
from evalkit.report import academic_pathway, display, peer_pathway
from evalkit.report.phrases import sentences_of
from tests.report_factory import PROVENANCE, ROOT
from tests.unit.test_words import BANNED

World = Literal["benefit", "none", "harm", "few", "refused", "bare"]
WORLDS: tuple[World, ...] = ("benefit", "none", "harm", "few", "refused", "bare")
PROTOCOL = load_protocol(ROOT / "protocols" / "ipsa.toml")
PEER = ("show_places", "show_again", "show_for_whom")
ACADEMIC = ("show_pathway", "show_recurrence", "show_subgroups")
SHOCKS = Check("area_shocks", False, math.nan, "Few areas are compared: the interval counts people.")
SMALL = ("unsettled", "not_recorded", "dead", "studio_flat")
# Days with the service less without it, and half of the range: a benefit; harm turns all round.
CHANGE = {"hospital": (-9.0, 6.0), "rehab_ward": (-12.8, 15.0), "care_home": (-41.0, 19.0),
          "supported_living": (3.0, 17.0),
          "floating_support": (21.0, 11.0), "own_tenancy": (-4.0, 11.0), "community_recovery": (14.2, 7.0)}  # fmt: skip
SIZE = {"benefit": 1.0, "none": 0.02, "harm": -1.0, "few": 1.0, "refused": 1.0, "bare": 1.0}


def without(*sections: str, subgroups: bool = True) -> Protocol:
    content = PROTOCOL.model_dump(mode="json")
    content |= dict.fromkeys(sections)
    if "pathway" in sections:  # days at home are counted in its states
        content["economics"]["valued"] = [v for v in content["economics"]["valued"] if v["kind"] != "days"]
    if not subgroups:
        content["after_discharge"] |= {"subgroups": [], "subgroups_of": ""}
    return Protocol.model_validate_json(json.dumps(content))


def estimate(outcome: str, scale: Scale, estimator: str, value: float, half: float, *, world: World, label: str = "",
             role: str = "sensitivity") -> Estimate:  # fmt: skip
    estimand = Estimand(outcome, "ATT", PROTOCOL.population.label, PROTOCOL.dates.after, scale)
    if world == "refused":
        return not_estimable(estimand, estimator, role=role, reason="cells: too few people: treated after", label=label)
    return Estimate(
        estimand, estimator, role, value, value - half, value + half, 0.95, n_people=880.0, se=half / 2, p_value=0.2,
        n_events=6.0 if world == "few" else 240.0, checks=(SHOCKS,) if role != "naive" else (), label=label,
    )  # fmt: skip


def days_of(world: World, protocol: Protocol) -> list[Results]:
    found, cells, spec = [], [], protocol.pathway
    for state in spec.state_keys:
        key = f"pathway_{state}"
        if state in SMALL:
            estimand = protocol.pathway_estimand(state)
            found.append(not_estimable(estimand, "occupancy_did", role="sensitivity", label=spec.labels[state],
                                       reason="Fewer than 10 people were ever there in one cell."))  # fmt: skip
            continue
        value, half = CHANGE[state]
        value *= 1.0 if state == "community_recovery" else SIZE[world]
        found.append(estimate(key, "days_per_person", "occupancy_did", value, half, world=world,
                              label=spec.labels[state]))  # fmt: skip
        found.append(estimate(key, "days_per_person", "before_after", value - 20, half, world=world, role="naive",
                              label="Uncontrolled before and after: not evidence of effect"))  # fmt: skip
        seen = {"care_home": 150.0, "community_recovery": 14.2}.get(state, 30.0)
        for column, days in (("with", seen), ("without", seen - value)):
            cells.append(Cell(state, column, days, "mean", unit="days per person", n_people=230.0, n_events=64.0,
                              label=spec.labels[state]))  # fmt: skip
    days = Results.from_estimates(found, table="pathway.days")
    return [days] if world in ("few", "refused") else [days, Results.from_cells("pathway.means", cells)]


def places_of() -> list[Results]:
    places = {"hospital+rehab_ward": 64, "care_home": 88, "supported_living": 48, "own_tenancy": 30}
    cells = [Cell("day 0", "everybody", 230, "count")]
    for day in (0, 91, 182, 273, 364):
        for name, n in places.items():
            cells += [
                Cell(f"day {day}", f"{name} people", n, "count", totals=("day 0/everybody",), label=name),
                Cell(f"day {day}", f"{name} with", 100 * n / 230, "percent", unit="%", label=name.replace("_", " "),
                     numerator=f"day {day}/{name} people", denominator="day 0/everybody"),
                Cell(f"day {day}", f"{name} without", 100 * n / 230, "statistic", unit="%", n_people=230.0,
                     n_events=float(n), numerator=f"day {day}/{name} people", label=name.replace("_", " ")),
            ]  # fmt: skip
    flow = []
    for who, scale in ((PROTOCOL.areas.treated_label, 1), ("Comparators", 3)):
        for start in PLACE_LABELS:
            flow.append(Cell(f"{who}|{start}", "started", 46 * scale, "count"))
            for end in PLACE_LABELS:
                n = 30 * scale if end == start else 4 * scale
                flow.append(Cell(f"{who}|{start}", f"{end} people", n, "count", totals=(f"{who}|{start}/started",)))
    return [Results.from_cells("pathway.occupancy", cells), Results.from_cells("pathway.flow", flow)]


def returns_of(world: World) -> list[Results]:
    size = SIZE[world]
    found = [
        estimate(RECURRENCE, "events_per_person", "mean_count_did", -0.31 * size, 0.22, world=world),
        estimate(RECURRENCE, "rate_ratio", "lwyy_did", math.exp(-0.4 * size), 0.2, world=world),
        estimate(DAYS_IN_HOSPITAL, "days_per_person", "mean_days_did", -19.0 * size, 12.0, world=world),
    ]
    cells = [
        Cell(f"{cell}|{day}", "mean_count", 0.0015 * day, "statistic", unit="admissions per person", n_people=170.0,
             n_events=0.255 * day, lower=0.001 * day, upper=0.002 * day, level=0.95)
        for cell in ("treated after", "treated before", "comparison after", "comparison before")
        for day in range(60, 361, 60)
    ]  # fmt: skip
    return [Results.from_estimates(found, table="after_discharge"), Results.from_cells("mean_count", cells)]


def subgroups_of(world: World, protocol: Protocol) -> Results:
    size = SIZE[world]
    changes = {"dual_diagnosis": (-0.03, 0.12), "forensic_history": (0.02, 0.13), "female": (-0.09, 0.05)}
    found = [
        estimate(f"{name}.readmission_365d", "risk_difference", "shrunken_interaction", size * value, half, world=world,
                 label=SUBGROUP_LABELS[name])
        for name, (value, half) in changes.items() if name in protocol.after_discharge.subgroups
    ]  # fmt: skip
    return Results.from_estimates(found, table="subgroups")


def people_release(world: World, *, protocol: Protocol = PROTOCOL) -> Release:
    """`bare` is a benefit of which only the estimates are released."""
    parts = []
    if protocol.pathway:
        parts += days_of(world, protocol)
        parts += [] if world in ("bare", "refused") else places_of()
    if protocol.after_discharge:
        parts += returns_of(world)[: 1 if world in ("bare", "refused") else 2]
        parts += [subgroups_of(world, protocol)] if protocol.after_discharge.subgroups else []
    results = Results.concat(parts).stamped(notebook="sample", protocol=protocol.digest, data="0" * 64)
    return release(results, policy=policy("strict"), protocol=protocol, provenance=PROVENANCE)


Shown = dict[str, tuple[dict[str, str], dict[str, object]]]


def shown_by(module: object, names: tuple[str, ...], found: Release, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Data and metadata of everything shown, by id."""
    seen: Shown = {}

    def keep(data: dict[str, str], *, raw: bool, metadata: dict[str, dict[str, object]]) -> None:
        name = str(metadata["evalkit"]["id"])
        assert name not in seen
        seen[name] = (data, metadata["evalkit"])

    monkeypatch.setattr(display, "display", keep)
    for name in names:
        getattr(module, name)(found)
    return seen


def texts(seen: Shown) -> str:
    return "\n\n".join(data["text/markdown"] for data, _ in seen.values() if "text/markdown" in data)


def peer(world: World, monkeypatch: pytest.MonkeyPatch, *, protocol: Protocol = PROTOCOL) -> Shown:
    return shown_by(peer_pathway, PEER, people_release(world, protocol=protocol), monkeypatch)


def one_line(seen: Shown, name: str) -> str:
    return " ".join(seen[name][0]["text/markdown"].split())


# ---- the peer report -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "lost"),
    [*((w, ()) for w in WORLDS), ("harm", ("pathway",)), ("harm", ("after_discharge",)),
     ("none", ("pathway", "after_discharge"))],
)  # fmt: skip
def test_peers_are_told_in_plain_and_short_sentences(world, lost, monkeypatch) -> None:
    seen = peer(world, monkeypatch, protocol=without(*lost) if lost else PROTOCOL)
    lengths = [len(s.split()) for s in sentences_of(texts(seen))]
    assert sum(lengths) / len(lengths) <= 15
    assert max(lengths) <= 30
    everything = texts(seen) + "".join(str(data.get("text/plain", "")) + str(meta) for data, meta in seen.values())
    assert BANNED.findall(everything) == []
    assert not re.search(r"counterfactual|occupancy|difference-in-differences|interval|\binf\b", everything)


def test_a_benefit_is_told_as_one_and_stays_a_suggestion(monkeypatch) -> None:
    said = one_line(seen := peer("benefit", monkeypatch), "text-places-reading")
    assert "In a care home: the figures suggest less time there. That is for the better." in said
    assert (
        "In their own place with visiting support: the figures suggest more time there. That is for the better." in said
    )
    assert "for the worse" not in said
    assert "likely" not in said
    again = one_line(seen, "text-again")
    assert "Our best answer is 31 fewer returns with IPSA than without it." in again
    assert "the figures suggest a change, but few areas are compared. That is for the better." in again
    assert "Women did better out of it than men and others." in one_line(seen, "text-whom")


def test_a_harm_is_told_as_one(monkeypatch) -> None:
    seen = peer("harm", monkeypatch)
    said = one_line(seen, "text-places-reading")
    assert "In a care home: the figures suggest more time there. **That is for the worse.**" in said
    assert (
        "In their own place with visiting support: the figures suggest less time there. **That is for the worse.**"
        in said
    )
    assert "for the better" not in said
    harms = one_line(seen, "text-places-harms")
    assert "In a care home: up to 60 days more." in harms
    assert "In their own place with visiting support: up to 32 days fewer." in harms
    again = one_line(seen, "text-again")
    assert "31 more returns" in again
    assert "**That is for the worse.**" in again
    assert "Women did **worse** out of it than men and others." in one_line(seen, "text-whom")


def test_where_nothing_is_clear_we_say_so_and_which_harms_are_possible(monkeypatch) -> None:
    seen = peer("none", monkeypatch)
    said = one_line(seen, "text-places-reading")
    assert "What we cannot tell.** For 6 places we cannot tell" in said
    assert "That does not mean that nothing changed" in said
    assert "suggest" not in said
    harms = one_line(seen, "text-places-harms")
    assert "Harms that we cannot rule out" in harms
    assert "In a care home: up to 18 days more." in harms
    assert "On a hospital ward: up to 6 days more." in harms
    assert "in supported living" not in harms.lower()  # the protocol wants neither more nor less of it
    assert "community recovery" not in harms
    again = one_line(seen, "text-again")
    assert again.count("So we cannot tell if IPSA changed this.") == 2
    assert "It could be a harm: up to 21 more." in again
    assert "no clear difference between groups" in one_line(seen, "text-whom")


@pytest.mark.parametrize("world", ["few", "refused"])
def test_where_there_is_no_number_there_is_a_reason_and_no_figure(world, monkeypatch) -> None:
    seen = peer(world, monkeypatch)
    assert one_line(seen, "text-no-places").startswith("We could not work this out. ")
    assert "few people" in one_line(seen, "text-no-places")
    assert one_line(seen, "text-again").count("We could not work this out.") == 2
    assert "too few people to say anything" in one_line(seen, "text-whom")
    assert not [name for name in seen if name.startswith("fig-")]


def test_what_was_not_asked_is_said_not_to_have_been(monkeypatch) -> None:
    seen = peer("benefit", monkeypatch, protocol=without("pathway", "after_discharge"))
    assert list(seen) == ["text-no-places", "text-no-again", "text-no-whom"]
    assert texts(seen).count("The plan did not ask") == 3
    some = peer("benefit", monkeypatch, protocol=without(subgroups=False))
    assert "text-no-whom" in some
    assert "text-again" in some


@pytest.mark.parametrize("world", ["benefit", "none", "harm"])
def test_peers_learn_what_the_bars_are_and_what_was_not_seen(world, monkeypatch) -> None:
    seen = peer(world, monkeypatch)
    order = list(seen)
    assert order.index("text-bars") < order.index("fig-places") < order.index("tab-places")
    bars = one_line(seen, "text-bars")
    assert "Each bar is 100 people." in bars
    assert "The second bar is where we think they would have been without IPSA." in bars
    assert "Nobody could see that: we worked it out, so it can be wrong." in bars
    assert "So a gap of 3 people or fewer between two bars means nothing." in bars
    table = seen["tab-places"][0]["text/plain"]
    assert "Without IPSA (worked out)" in table
    assert '"Without IPSA" is worked out, not seen.' in table
    assert "does not show what caused them" in one_line(seen, "text-moves")


def test_a_part_of_the_service_is_no_finding(monkeypatch) -> None:
    for world in ("benefit", "harm", "none"):
        seen = peer(world, monkeypatch)
        assert "the service did not exist before" in seen["tab-places"][0]["text/plain"]
        assert "community recovery" not in texts(seen)


def test_fewer_days_than_none_are_none_and_no_estimate_is_a_bare_zero(monkeypatch) -> None:
    found = people_release("benefit")
    means = found.table("pathway.means")
    assert (means["value"] >= 0).any()
    effects = peer_pathway.read_people_effects(found, "pathway.days")
    table = peer_pathway.days_table(found, effects, "IPSA").set_index("Where")
    assert table.loc["In a care home", "Without IPSA (worked out)"] == "191"
    assert table.loc["Died", "With IPSA"] == "not shown"
    assert table.loc["On a rehabilitation ward", "Range of doubt"] == "28 fewer to 2 more"


def numbers_in(text: str) -> set[float]:
    plain = re.sub(r"[*_]", "", text)
    return {float(n.replace(",", "")) for n in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w])", plain)}


def released_numbers(found: Release) -> set[float]:
    frame = found.results.frame
    known = frame[["value", "lower", "upper"]].to_numpy(dtype=float).ravel()
    known = known[np.isfinite(known)]
    # Places that are told of are counted; the rest are dates, the hundred of "out of 100", and a year's months.
    fixed = {100.0, 1.0, 0.0, float(PROTOCOL.dates.baseline_start.year), 3.0}
    places = set(map(float, range(len(PROTOCOL.pathway.state_keys) + 1)))
    return fixed | places | {float(abs(round(s * v))) for v in known for s in (1, 100)}


@pytest.mark.parametrize("world", WORLDS)
def test_every_number_that_peers_read_is_in_the_release(world, monkeypatch) -> None:
    found = people_release(world)
    seen = shown_by(peer_pathway, PEER, found, monkeypatch)
    known = released_numbers(found)
    for name, (data, _) in seen.items():
        if name.startswith("text-"):
            assert numbers_in(data["text/markdown"]) <= known, name
        if name.startswith("tab-"):
            assert numbers_in(data["text/plain"]) <= known, name


# ---- the academic report -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "lost"), [*((w, ()) for w in WORLDS), ("harm", ("pathway",)), ("harm", ("after_discharge",))]
)
def test_referees_are_shown_numbers_or_reasons(world, lost, monkeypatch) -> None:
    protocol = without(*lost) if lost else PROTOCOL
    found = people_release(world, protocol=protocol)
    seen = shown_by(academic_pathway, ACADEMIC, found, monkeypatch)
    told = texts(seen) + "".join(str(data.get("text/plain", "")) + str(meta) for data, meta in seen.values())
    assert not re.search(r"\bnan\b|\binf\b", told)
    assert ("text-no-pathway" in seen) is ("pathway" in lost)
    assert ("text-no-repeated" in seen) is ("after_discharge" in lost)
    if not lost:
        table = academic_pathway.people_table(found, "pathway.days")
        numbers = table["Estimate"].str.contains(r"days per person$", regex=True)
        assert bool(numbers.any()) is (world not in ("few", "refused"))
        assert table.loc[~numbers, "Estimate"].str.endswith(".").all()
        assert not table["Estimate"].str.contains("not available").any()


def test_referees_read_the_sign_as_it_is(monkeypatch) -> None:
    for world, start in (("benefit", "−41.0 (−60.0 to −22.0)"), ("harm", "41.0 (22.0 to 60.0)")):
        table = academic_pathway.people_table(people_release(world), "pathway.days")
        own = table[(table["Outcome"] == "Residential or nursing care") & (table["Role"] != "naive")]
        assert own["Estimate"].iloc[0].startswith(start)
    seen = shown_by(academic_pathway, ACADEMIC, people_release("harm"), monkeypatch)
    assert "not evidence of effect" in " ".join(seen["tab-pathway"][0]["text/plain"].split())
    alts = [str(meta["alt"]) for _, meta in seen.values() if meta.get("alt")]
    assert len(alts) >= 4
    assert not any(re.search(r"\bnan\b", alt) for alt in alts)


def test_no_number_withheld_is_in_any_table_or_alt_text(monkeypatch) -> None:
    found = people_release("few")
    assert found.table("pathway.days").query("role != 'naive'")["value"].isna().all()
    for module, names in ((peer_pathway, PEER), (academic_pathway, ACADEMIC)):
        seen = shown_by(module, names, found, monkeypatch)
        told = " ".join(str(data) + str(meta) for data, meta in seen.values())
        assert not re.search(r"(?<!\d)(41\.0|60\.0|12\.8|0\.31|19\.0)(?!\d)", told)
    assert isinstance(found.results.frame, pd.DataFrame)
