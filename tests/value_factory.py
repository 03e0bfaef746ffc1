"""Made-up tables of costs and value, put through the real gate, to test figures and reports on.

Every number is invented. A saving, none of note, a dearer service, one where the saving costs days, and one refused.
"""

from __future__ import annotations

import json
import math
import tomllib
from statistics import NormalDist
from typing import Literal

from evalkit.core.protocol import Protocol
from evalkit.core.result import Cell, Check, Estimate, Results, not_estimable
from evalkit.disclose import Release, policy, release
from tests.report_factory import PROVENANCE, ROOT

World = Literal["saving", "none", "dearer", "cheaper_and_worse", "refused"]
WORLDS: tuple[World, ...] = ("saving", "none", "dearer", "cheaper_and_worse", "refused")
GBP = "GBP per person-quarter"
YEAR = "GBP per year"
COST = {"saving": -2050.0, "none": -90.0, "dearer": 1400.0, "cheaper_and_worse": -1900.0, "refused": math.nan}
DAYS = {"saving": 5.2, "none": 0.4, "dearer": 4.1, "cheaper_and_worse": -4.4, "refused": math.nan}
HALF, DAYS_HALF = 900.0, 3.4
SPENT_BEFORE = {"wards": 6590.0, "placements": 9210.0, "contacts": 180.0, "programme": 0.0}
WHY = "costs: too few people on one side to weight them"
N = {"n_people": 230.0}
NORMAL = NormalDist()


def value_protocol(*, economics: bool = True) -> Protocol:
    """The default study; without economics it has no cost outcome either."""
    content = tomllib.loads((ROOT / "protocols" / "ipsa.toml").read_text(encoding="utf-8"))
    if not economics:
        del content["economics"]
        content["outcomes"] = [o for o in content["outcomes"] if o["kind"] != "cost"]
        content["claims"] = [c for c in content["claims"] if c.get("outcome") != "public_cost"]
    return Protocol.model_validate_json(json.dumps(content, default=str))


def value_release(world: World = "saving", *, drop: tuple[str, ...] = (), few: bool = False,
                  protocol: Protocol | None = None) -> Release:  # fmt: skip
    """The tables of one world; `drop` leaves out tables by the start of their names, `few` has too few people."""
    protocol = protocol or value_protocol()
    parts = value_parts(protocol, world) if protocol.economics else []
    frame = Results.concat(parts).stamped(notebook="sample", protocol=protocol.digest, data="0" * 64).frame
    kept = frame[[not str(t).startswith(drop) for t in frame["table"]]] if drop else frame
    kept = kept.assign(n_people=6.0) if few else kept
    return release(Results(kept), policy=policy(protocol.disclosure.profile), protocol=protocol, provenance=PROVENANCE)


def value_parts(protocol: Protocol, world: World) -> list[Results]:
    return [
        effects(protocol, world), relative(world), change(protocol), variants(protocol, world), prices(),
        *evaluation(protocol, world), tornado(world), budget(world), payers(world), impact(world),
        what_if(protocol, world),
    ]  # fmt: skip


def stat(row: str, column: str, value: float, half: float = math.nan, *, unit: str = GBP, label: str = "") -> Cell:
    """A statistic, or its refusal where it is NaN."""
    if math.isnan(value):
        return Cell(row, column, math.nan, "statistic", unit=unit, label=label, status="refused", reason=WHY)
    return Cell(row, column, value, "statistic", unit=unit, lower=value - half, upper=value + half, level=0.95,
                label=label, **N)  # fmt: skip


def effects(protocol: Protocol, world: World) -> Results:
    outcome = protocol.outcomes_of("cost")[0]
    estimand, value = protocol.estimand(outcome), COST[world]
    if world == "refused":
        return Results.from_estimates([not_estimable(estimand, outcome.estimator, role="primary", reason=WHY)])
    shocks = Check("area_shocks", False, math.nan, "Few areas are compared: the interval counts people.")
    made = [
        ("log_link_did_bootstrap", "primary", "Log-link difference-in-differences", value, HALF, (shocks,)),
        ("gamma_glm_did", "sensitivity", "Gamma GLM", value * 0.9, HALF * 1.1,
         (Check("park", True, 1.86, "The Park test puts the variance near the square of the mean."),
          Check("pregibon_link", False, 0.011, "The link test rejects the log link (p = 0.011)."))),
        ("before_after", "naive", "Before and after", value - 1900, HALF, ()),
    ]  # fmt: skip
    return Results.from_estimates([
        Estimate(estimand, name, role, v, v - half, v + half, 0.95, n_people=950.0, se=half / 1.96, checks=checks,
                 label=label)
        for name, role, label, v, half, checks in made
    ])  # fmt: skip


def relative(world: World) -> Results:
    change, base = COST[world], 13100.0
    if world == "refused":
        return Results.from_cells("cost_relative", [stat("public_cost", "relative_change", math.nan)])
    return Results.from_cells("cost_relative", [
        Cell("public_cost", "actual", base + change, "mean", unit=GBP, label="Spent", **N),
        Cell("public_cost", "counterfactual", base, "mean", unit=GBP, label="Would have been spent", **N),
        Cell("public_cost", "relative_change", change / base, "statistic", unit="share", lower=(change - HALF) / base,
             upper=(change + HALF) / base, level=0.95, label="Change against the counterfactual", **N),
    ], outcome="public_cost")  # fmt: skip


def change(protocol: Protocol) -> Results:
    """Before and after are seen whatever can be estimated: use falls, prices rise."""
    moved = {"wards": (-3900.0, 180.0), "placements": (-900.0, 210.0), "contacts": (15.0, 5.0),
             "programme": (630.0, 0.0)}  # fmt: skip
    cells = []
    for group, size in ((protocol.areas.treated_label, 1.0), ("Comparators", 0.6)):
        total = dict.fromkeys(("before", "after", "volume", "price"), 0.0)
        for part, before in SPENT_BEFORE.items():
            volume, price = (size * x for x in moved[part])
            numbers = {"before": before, "after": before + volume + price, "volume": volume, "price": price}
            total = {k: total[k] + numbers[k] for k in total}
            cells += _change_cells(part, part.capitalize(), group, numbers)
        cells += _change_cells("total", "All", group, total)
    return Results.from_cells("cost_change", cells)


def _change_cells(row: str, label: str, group: str, numbers: dict[str, float]) -> list[Cell]:
    return [Cell(row, f"{group}|{k}", v, "mean", unit=GBP, label=label, **N) for k, v in numbers.items()]


def variants(protocol: Protocol, world: World) -> Results:
    """The NHS bears 1.4 of the change and the council pays 0.4 back."""
    size = COST[world]
    shares = {"fixed_prices": (1.05, 1.0), "prices_alone": (-0.05, 0.2), "payer.nhs": (1.4, 0.7),
              "payer.local_authority": (-0.4, 0.7), "public_sector": (0.95, 1.1), "part.wards": (1.3, 0.8),
              "part.placements": (-0.05, 0.6), "part.contacts": (0.02, 0.05), "without_programme": (1.3, 1.0),
              "discounted": (0.96, 1.0), "stayed": (0.93, 1.2), "prices.all.low": (0.8, 0.8),
              "prices.all.high": (1.2, 1.2), "year.2015": (0.6, 1.3), "year.2016": (1.1, 1.3),
              "year.2017": (1.3, 1.4)}  # fmt: skip
    cells = []
    for row, (share, half) in shares.items():
        base = 13100.0 if "." not in row or row.startswith("year") else 6400.0
        value = share * size
        if row in ("fixed_prices", "prices_alone"):  # halves of the difference, with no counterfactual of their own
            cells.append(stat(row, "difference", value, half * HALF, label=row))
            continue
        for column, number, width in (("actual", base + value, HALF), ("counterfactual", base, HALF),
                                      ("difference", value, half * HALF)):  # fmt: skip
            cells.append(stat(row, column, number if world != "refused" else math.nan, width, label=row))
        cells.append(stat(row, "relative_change", value / base, half * HALF / base, unit="share", label=row))
    return Results.from_cells("cost_variants", cells)


def prices() -> Results:
    found = {
        "ward_day.rehab": (377.0, "GBP per day", "National cost collection 2015/16; price year 2015; verified"),
        "ward_day.acute": (404.0, "GBP per day", "National cost collection 2015/16; price year 2015; verified"),
        "placement_week.residential_care": (812.0, "GBP per week", "Unit costs of care; price year 2016; not verified"),
        "contact": (61.0, "GBP per contact", "Brief; price year 2015; not verified"),
    }
    return Results.from_cells("price_list", [Cell(row, "price", v, "statistic", unit=unit, label=label)
                                             for row, (v, unit, label) in found.items()])  # fmt: skip


def evaluation(protocol: Protocol, world: World) -> list[Results]:
    cost, sd_cost = COST[world], HALF / 1.96
    plane, curve, information = [], [], []
    for valued in protocol.economics.valued:
        scale = 1.0 if valued.kind == "days" else 0.05
        effect, sd = scale * DAYS[world], scale * DAYS_HALF / 1.96
        plane += _plane_cells(valued.key, valued.label, cost, effect, sd_cost, sd)
        most = valued.max_threshold_gbp
        for k in range(11):
            threshold = most * k / 10
            mean, spread = threshold * effect - cost, math.hypot(threshold * sd, sd_cost)
            row = f"{valued.key}|{threshold:g}"
            z = mean / spread
            evpi = spread * NORMAL.pdf(z) - abs(mean) * NORMAL.cdf(-abs(z))
            curve += [stat(row, "probability", NORMAL.cdf(z), unit="probability"),
                      stat(row, "eib", mean, 1.96 * spread), stat(row, "evpi", evpi)]  # fmt: skip
        for group, share in (("Effect", 0.5), ("Prices not verified", 0.12)):
            information += [stat(f"{valued.key}|{group}", "evppi", share * evpi, label=group),
                            stat(f"{valued.key}|{group}", "share_of_evpi", share + 0 * cost, unit="share",
                                 label=group)]  # fmt: skip
    return [Results.from_cells("cea_plane", plane), Results.from_cells("ceac", curve),
            Results.from_cells("evppi", information)]  # fmt: skip


def _plane_cells(key: str, label: str, cost: float, effect: float, sd_cost: float, sd: float) -> list[Cell]:
    nowhere = math.isnan(cost)
    cheaper, better = (math.nan, math.nan) if nowhere else (NORMAL.cdf(-cost / sd_cost), NORMAL.cdf(effect / sd))
    nan = math.nan
    columns = {
        "sd_cost": nan if nowhere else sd_cost,
        "sd_effect": nan if nowhere else sd, "correlation": nan if nowhere else -0.35,
        "share_se": cheaper * better, "share_ne": (1 - cheaper) * better, "share_sw": cheaper * (1 - better),
        "share_nw": (1 - cheaper) * (1 - better),
    }  # fmt: skip
    cells = [stat(key, "mean_cost", cost, 1.96 * sd_cost, label=label), stat(key, "mean_effect", effect, 1.96 * sd,
             unit="unit per person-quarter", label=label)]  # fmt: skip
    units = {"sd_effect": "unit per person-quarter", "correlation": "correlation"}
    units |= {f"share_{side}": "share of draws" for side in ("se", "ne", "sw", "nw")}
    cells += [stat(key, column, value, unit=units.get(column, GBP), label=label) for column, value in columns.items()]
    clear = not nowhere and abs(effect) > 1.96 * sd
    if clear and (cost < 0) == (effect < 0):
        cells.append(stat(key, "icer", cost / effect, abs(cost / effect) * 0.6, unit="GBP per unit", label=label))
    else:
        why = WHY if nowhere else "the effect may be nought, so that a ratio to it means nothing" if not clear else (
            "one side is better and cheaper, so that it dominates and a ratio means nothing")  # fmt: skip
        cells.append(Cell(key, "icer", nan, "statistic", unit="GBP per unit", label=label, status="refused",
                          reason=why))  # fmt: skip
    return [*cells, stat(key, "inb", nan if nowhere else 250 * effect - cost, 1100.0, label=label)]


def tornado(world: World) -> Results:
    ends = {"prices.all": (0.8, 1.2), "prices.wards": (0.74, 1.26), "prices.placements": (1.01, 0.99),
            "without_programme": (1.31, 1.0), "discount_rate": (1.0, 0.94)}  # fmt: skip
    labels = {"prices.all": "All prices, 20% down and up", "prices.wards": "Prices of wards",
              "prices.placements": "Prices of care homes and supported housing",
              "without_programme": "Cost of the programme: none, and as it was", "discount_rate": "Discount rate: 0% "
              "and 6%"}  # fmt: skip
    return Results.from_cells("tornado", [
        stat(row, column, share * COST[world], label=labels[row])
        for row, pair in ends.items() for column, share in zip(("low", "high"), pair, strict=True)
    ])  # fmt: skip


def budget(world: World) -> Results:
    """The old budget is above what would have been spent: the fall that came anyway looks like a saving."""
    cells, sums, later, first = [], {}, {}, {}
    years = {"2015": 1.0, "2016": 1.02, "2017": 1.03}
    for year, factor in years.items():
        original, base = 14.2e6 * factor, 12.1e6 * factor
        numbers = {"original": original, "actual": base * (1 + COST[world] / 13100.0) if world != "refused" else 11.4e6,
                   "counterfactual": base if world != "refused" else math.nan}  # fmt: skip
        sums = {k: sums.get(k, 0.0) + v for k, v in numbers.items()}
        later = {k: sums[k] - v for k, v in first.items()} if year != "2015" else {}
        first = numbers if year == "2015" else first
        cells += _budget_cells(year, f"{year}/{int(year) + 1 - 2000}", numbers, HALF / 13100 * base)
    cells += _budget_cells("2015|real", "2015/16, in real terms", {k: 0.98 * v for k, v in numbers.items()}, 8e5)
    cells += _budget_cells("from_year_2", "All years from year 2 on", later, HALF / 13100 * 12.1e6 * 2.05)
    return Results.from_cells("budget", cells + _budget_cells("all", "All years", sums, HALF / 13100 * 12.1e6 * 3.05))


def _budget_cells(row: str, label: str, n: dict[str, float], half: float) -> list[Cell]:
    claimed, found = n["original"] - n["actual"], n["counterfactual"] - n["actual"]
    money = {"unit": "GBP", "label": label}
    return [
        stat(row, "original", n["original"], **money), stat(row, "actual", n["actual"], **money),
        stat(row, "counterfactual", n["counterfactual"], **money),
        stat(row, "claimed_saving", claimed, **money), stat(row, "estimated_saving", found, half, **money),
        stat(row, "claimed_share", claimed / n["original"], unit="share", label=label),
        stat(row, "estimated_share", found / n["counterfactual"], half / n["counterfactual"], unit="share",
             label=label),
    ]  # fmt: skip


def payers(world: World) -> Results:
    saving = -COST[world] * 230 * 12
    return Results.from_cells("budget_payer", [
        c for row, share in (("nhs", 1.4), ("local_authority", -0.4))
        for c in (stat(row, "saving", share * saving, HALF * 230 * 12, unit="GBP"),
                  stat(row, "share", 0.1 * share + 0 * saving, 0.4, unit="share of what it would have paid"))
    ] + [stat("remainder", "saving", 0.01 * saving, 4e5, unit="GBP",
              label="What the two do not add up to")])  # fmt: skip


def impact(world: World) -> Results:
    cells = []
    for key in ("holds", "fades", "stops"):
        so_far = 0.0
        for year in range(1, 6):
            lasting = {"holds": 1.0, "fades": 0.75 ** (year - 1), "stops": 1.0 if year == 1 else 0.0}[key]
            start, other = 450e3 if year == 1 else 0.0, COST[world] * 230 * 4 * lasting
            running = 0.58e6 * (1.0 if lasting else 0.0)
            net = start + running + other
            worth = net / 1.035 ** (year - 1)
            so_far += net
            numbers = {"set_up": start, "running": running, "other_services": other, "net": net,
                       "net_discounted": worth, "cumulative": so_far}  # fmt: skip
            cells += [stat(f"{key}|{year}", c, v if math.isfinite(net) else math.nan, unit="GBP")
                      for c, v in numbers.items()]  # fmt: skip
        cells.append(Cell(f"{key}|break_even", "year", math.nan, "statistic", status="not_estimable",
                          reason="It is not paid back in the years shown.", label="Year"))  # fmt: skip
    return Results.from_cells("budget_impact", cells)


def what_if(protocol: Protocol, world: World) -> Results:
    cells = []
    for place in protocol.economics.what_if:
        saving = -COST[world] * place.people * 4
        cells += [
            Cell(place.key, "served", place.people, "statistic", unit="people", label=place.key),
            stat(place.key, "saving", saving, HALF * place.people * 4, unit=YEAR, label=place.key),
            stat(place.key, "set_up", place.set_up_gbp, unit="GBP", label=place.key),
            stat(place.key, "net_year_one", saving - place.set_up_gbp, unit="GBP", label=place.key),
            stat(place.key, "net_saving", saving - 4e5, HALF * place.people * 4, unit=YEAR, label=place.key),
            stat(place.key, "break_even", -0.05 + 0 * saving, unit="share of other costs", label=place.key),
        ]  # fmt: skip
    return Results.from_cells("what_if", cells)
