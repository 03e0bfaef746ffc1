"""Tables of costs and value for referees: every cell is text, and what is missing says why."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import pandas as pd

from evalkit.report import facts
from evalkit.report.figures_budget import change_table, impact_table
from evalkit.report.phrases import full_stop, number, starts_with_capital, with_interval
from evalkit.report.plain import referee_reason
from evalkit.report.tables import CHECK_WORDS, ROLE_WORDS, estimator_words, shown
from evalkit.report.value_facts import (
    PAYERS,
    PERSISTENCE,
    Amount,
    Plane,
    VariantGroup,
    change_range,
    percent_range,
    pounds,
    pounds_range,
    read_amount,
    unit_words,
    variants,
    year_words,
)

if TYPE_CHECKING:
    from evalkit.disclose.release import Release


Kind = Literal["money", "share", "change", "number"]
_TOLD: dict[Kind, Callable[[Amount], str]] = {
    "money": pounds_range, "share": percent_range, "change": change_range,
    "number": lambda a: with_interval(a.value, a.lower, a.upper),
}  # fmt: skip
_PRICE_YEAR = re.compile(r"price (?:year|of) (\d{4})")


def told(amount: Amount, *, of: Kind = "money") -> str:
    """An amount as text with its interval, or why there is none."""
    if amount.has_number:
        return _TOLD[of](amount)
    if amount.status == "absent":
        return "not in this release"
    if amount.status == "suppressed":
        return "not released"
    return f"no number: {referee_reason(amount.reason)}" if amount.reason else "no number"


def change_numbers(release: Release) -> pd.DataFrame:
    """Cost by part before and after, and what use and price did to it, by group."""
    rows = change_table(release.table("cost_change"))
    text = {c: [_money(v) for v in rows[c]] for c in ("before", "after", "volume", "price")}
    return pd.DataFrame({
        "Part": ["All" if r.part == "total" else str(r.label) for r in rows.itertuples()], "Group": rows["group"],
        "Before": text["before"], "After": text["after"], "Change in use": text["volume"],
        "Change in price": text["price"],
    })  # fmt: skip


def variant_table(release: Release, groups: Sequence[VariantGroup]) -> pd.DataFrame:
    """Spent, would have been spent, the difference and the relative change of every variant of these groups."""
    rows = variants(release)
    rows = rows[rows["group"].isin(list(groups))]
    out = []
    for key in dict.fromkeys(rows["row"]):
        own = rows[rows["row"] == key]
        cell = {c: read_amount(release, "cost_variants", str(key), c)
                for c in ("actual", "counterfactual", "difference", "relative_change")}  # fmt: skip
        out.append({
            "What": str(own["label"].iloc[0]), "Spent": _bare(cell["actual"]),
            "Would have been spent": _bare(cell["counterfactual"]), "Difference": told(cell["difference"]),
            "Relative": told(cell["relative_change"], of="change") if cell["relative_change"].has_number else "",
        })  # fmt: skip
    return pd.DataFrame(out, columns=["What", "Spent", "Would have been spent", "Difference", "Relative"])


def design_rows(release: Release) -> pd.DataFrame:
    """Estimates of the cost outcomes, the naive one last."""
    costs = [o.key for o in release.protocol.outcomes_of("cost")]
    rows = facts.effects(release)
    return rows[rows["outcome"].isin(costs)].reset_index(drop=True)


def design_table(release: Release) -> pd.DataFrame:
    """Every design that was tried on cost."""
    rows = design_rows(release)
    limit = facts.threshold(release)
    return pd.DataFrame({
        "Design": [estimator_words(row) for _, row in rows.iterrows()],
        "Role": [ROLE_WORDS[role] for role in rows["role"]],
        "Difference, GBP per person-quarter": [shown(row, threshold=limit) for _, row in rows.iterrows()],
    })  # fmt: skip


def specification_table(release: Release) -> pd.DataFrame:
    """Checks of the designs for cost: links, families, weights, what remains unbalanced."""
    costs = [o.key for o in release.protocol.outcomes_of("cost")]
    rows = release.table("checks.effects")
    rows = rows[rows["outcome"].isin(costs)]
    names = {(r["row"], r["column"]): estimator_words(r) for _, r in design_rows(release).iterrows()}
    return pd.DataFrame({
        "Design": [next((n for (row, column), n in names.items() if f"{row}.{column}" == r.row), str(r.estimator))
                   for r in rows.itertuples()],
        "Check": [starts_with_capital(str(r.label)) for r in rows.itertuples()],
        "Result": [CHECK_WORDS.get(r.unit, r.unit) for r in rows.itertuples()],
        "What it found": [full_stop(str(r.reason)) if r.reason else "" for r in rows.itertuples()],
    })  # fmt: skip


def plane_table(plane: Plane, *, inb_at_gbp: float) -> pd.DataFrame:
    """Incremental cost and effect, where the draws fall, and the ratio or why there is none."""
    unit = unit_words(plane.valued, 2)
    lines = {
        "Incremental cost, GBP per person-quarter": told(plane.spread("cost")),
        f"Incremental effect, {unit} per person-quarter": told(plane.spread("effect"), of="number"),
        "Correlation of the two": number(plane.correlation) if math.isfinite(plane.correlation) else "not available",
    }
    quadrants = {"se": "Less costly and better", "ne": "More costly and better", "sw": "Less costly and worse",
                 "nw": "More costly and worse"}  # fmt: skip
    for key, words in quadrants.items():
        share = plane.shares[key]
        lines[f"Draws: {words[:1].lower()}{words[1:]}"] = f"{100 * share:.0f}%" if math.isfinite(share) else "not shown"
    one = unit_words(plane.valued, 1)
    lines[f"Incremental cost-effectiveness ratio, GBP per {one}"] = told(plane.icer)
    if plane.inb.status != "absent":
        lines[f"Incremental net benefit at {pounds(inb_at_gbp)} per {one}, GBP per person-quarter"] = told(plane.inb)
    return pd.DataFrame({"Quantity": list(lines), "Value": list(lines.values())})


def curve_table(release: Release, key: str, *, most: int = 6) -> pd.DataFrame:
    """Probability, expected incremental benefit and value of information at about `most` thresholds of one key."""
    rows = release.table("ceac")
    rows = rows[rows["row"].str.startswith(f"{key}|")]
    names = list(dict.fromkeys(rows["row"]))
    step = max(1, -(-(len(names) - 1) // (most - 1)))
    kept = [n for k, n in enumerate(names) if k % step == 0 or k == len(names) - 1]
    out = []
    for name in kept:
        cell = {c: read_amount(release, "ceac", name, c) for c in ("probability", "eib", "evpi")}
        chance = cell["probability"]
        out.append({
            "One unit is worth": pounds(float(name.rpartition("|")[2])),
            "Probability": f"{100 * chance.value:.0f}%" if chance.has_number else told(chance),
            "Expected incremental benefit": told(cell["eib"]), "EVPI": told(cell["evpi"]),
        })  # fmt: skip
    return pd.DataFrame(out, columns=["One unit is worth", "Probability", "Expected incremental benefit", "EVPI"])


def evppi_table(release: Release) -> pd.DataFrame:
    """What knowing each group of parameters for certain would be worth, a person and quarter."""
    rows = release.table("evppi")
    labels = {v.key: v.label for v in release.protocol.economics.valued} if release.protocol.economics else {}
    out = []
    for name in dict.fromkeys(rows["row"]):
        key, _, group = str(name).partition("|")
        share = read_amount(release, "evppi", str(name), "share_of_evpi")
        out.append({
            "Effect": labels.get(key, key), "Known for certain": starts_with_capital(group.replace("_", " ")),
            "EVPPI, GBP per person-quarter": told(read_amount(release, "evppi", str(name), "evppi")),
            "Share of EVPI": f"{100 * share.value:.0f}%" if share.has_number else told(share),
        })  # fmt: skip
    return pd.DataFrame(out, columns=["Effect", "Known for certain", "EVPPI, GBP per person-quarter", "Share of EVPI"])


def budget_numbers(release: Release) -> pd.DataFrame:
    """Budgets by year with the saving claimed on them and the saving estimated."""
    rows = release.table("budget")
    names = rows.drop_duplicates("row").set_index("row")["label"]
    out = []
    for year in dict.fromkeys(rows["row"]):
        cell = {c: read_amount(release, "budget", str(year), c)
                for c in ("original", "actual", "counterfactual", "claimed_saving", "estimated_saving",
                          "claimed_share", "estimated_share")}  # fmt: skip
        label = str(names[year])
        out.append({
            "Year": year_words(str(year)) if label == year else label, "Original": _bare(cell["original"]),
            "Actual": _bare(cell["actual"]),
            "Counterfactual": "" if cell["counterfactual"].status == "absent" else told(cell["counterfactual"]),
            "Saved on the original": _with_share(cell["claimed_saving"], cell["claimed_share"]),
            "Saved on the counterfactual": _with_share(cell["estimated_saving"], cell["estimated_share"]),
        })  # fmt: skip
    return pd.DataFrame(out)


def _with_share(saving: Amount, share: Amount) -> str:
    text = told(saving)
    return f"{text}; {told(share, of='share')}" if share.has_number else text


def payer_table(release: Release) -> pd.DataFrame:
    """Who bears the saving."""
    rows = release.table("budget_payer")
    out = []
    for payer in dict.fromkeys(rows["row"]):
        own = rows[rows["row"] == payer]
        label = str(own["label"].iloc[0])
        share = read_amount(release, "budget_payer", str(payer), "share")
        out.append({
            "Payer": PAYERS.get(str(payer), label) if label == payer else label,
            "Saving": told(read_amount(release, "budget_payer", str(payer), "saving")),
            "Share of what it would have paid": "" if share.status == "absent" else told(share, of="share"),
        })  # fmt: skip
    return pd.DataFrame(out, columns=["Payer", "Saving", "Share of what it would have paid"])


def impact_numbers(release: Release) -> pd.DataFrame:
    """Budget impact by assumption and year; above nought is money spent."""
    rows = impact_table(release.table("budget_impact"))
    heads = {"set_up": "Set-up", "running": "Running", "other_services": "Other services", "net": "Net",
             "net_discounted": "Net, discounted", "cumulative": "So far"}  # fmt: skip
    lines = {"How long it lasts": [PERSISTENCE.get(k, k) for k in rows["persistence"]],
             "Year": [str(y) for y in rows["year"]]}  # fmt: skip
    lines |= {head: [pounds(v) if math.isfinite(v) else "not released" for v in rows[c]] for c, head in heads.items()}
    return pd.DataFrame(lines)


def what_if_table(release: Release) -> pd.DataFrame:
    """Other places: people, what would be saved there, and what that asks for."""
    rows = release.table("what_if")
    places = {w.key: w for w in release.protocol.economics.what_if} if release.protocol.economics else {}
    out = []
    for key in [k for k in dict.fromkeys(rows["row"]) if k in places]:
        cell = {c: read_amount(release, "what_if", str(key), c)
                for c in ("saving", "net_saving", "set_up", "net_year_one", "break_even")}  # fmt: skip
        out.append({
            "Where": places[key].label, "People": f"{places[key].people:,}",
            "Saving on other services a year": told(cell["saving"]),
            "Less the service's own cost": told(cell["net_saving"]), "Set-up": told(cell["set_up"]),
            "Net saving in year one": told(cell["net_year_one"]),
            "Pays for its running at a change of": told(cell["break_even"], of="change"),
        })  # fmt: skip
    return pd.DataFrame(out)


def price_table(release: Release) -> pd.DataFrame:
    """Prices with their source, the year of the price, and whether the source was seen."""
    out = []
    for row in release.table("price_list").itertuples():
        source, year, verified = _source(str(row.label))
        amount = read_amount(release, "price_list", str(row.row), str(row.column))
        text = f"£{amount.value:,.2f}" if amount.has_number else told(amount)
        out.append({
            "Resource": starts_with_capital(str(row.row).replace("_", " ").replace(".", ": ")), "Price": text,
            "Unit": str(row.unit), "Source": source, "Price year": year, "Verified": verified,
        })  # fmt: skip
    return pd.DataFrame(out, columns=["Resource", "Price", "Unit", "Source", "Price year", "Verified"])


def _source(label: str) -> tuple[str, str, str]:
    """Source, price year and `yes` or `no` from `source; price year 2015; verified`; else "not stated"."""
    parts = [p.strip() for p in label.split(";")]
    verified = {"verified": "yes", "not verified": "no"}.get(parts[-1], "not stated")
    parts = parts[:-1] if verified != "not stated" else parts
    years = [found.group(1) for p in parts if (found := _PRICE_YEAR.fullmatch(p))]
    source = "; ".join(p for p in parts if not _PRICE_YEAR.fullmatch(p))
    return source or "not stated", next(iter(years), "not stated"), verified


def _bare(amount: Amount) -> str:
    """An amount without its interval; empty where the release has none, as the halves of a difference."""
    return pounds(amount.value) if amount.has_number else "" if amount.status == "absent" else "not released"


def _money(value: float) -> str:
    return pounds(value) if math.isfinite(value) else "not released"
