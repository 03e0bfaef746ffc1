"""Display tables: every cell is text, and what is missing says why."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report import facts
from evalkit.report.claims import assess_claims
from evalkit.report.figures_style import withheld_text
from evalkit.report.phrases import full_stop, percent_change, starts_with_capital, with_interval
from evalkit.report.plain import empty_by_nature, referee_reason
from evalkit.report.risk_words import read_checks

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

ROLE_WORDS = {
    "primary": "Primary", "sensitivity": "Sensitivity", "exploratory": "Exploratory",
    "naive": "Naive: not evidence of effect", "descriptive": "",
}  # fmt: skip
SCALE_WORDS = {"risk_difference": "risk difference", "rate_ratio": "rate ratio",
               "gbp_per_person_quarter": "GBP per person-quarter"}  # fmt: skip
ESTIMATOR_WORDS = {
    "overlap_aipw_did": "overlap-weighted doubly robust difference-in-differences",
    "poisson_did_permutation": "Poisson difference-in-differences, permutation interval",
    "log_link_did_bootstrap": "log-link difference-in-differences, bootstrap by person",
    "poisson_did_near_areas": "the same with the comparators alone",
}  # fmt: skip
CHECK_WORDS = {"passed": "passed", "failed": "failed", "informs": "for information"}


def shown(row: pd.Series, *, threshold: int = 10) -> str:
    """One number as text: with its interval, or why it is missing."""
    if row["status"] == "suppressed":
        return withheld_text(str(row["reason"]), threshold=threshold)
    if row["status"] in ("not_estimable", "refused"):
        return f"not estimable: {referee_reason(str(row['reason']))}" if row["reason"] else "not estimable"
    value = float(row["value"])
    if not math.isfinite(value):
        return "not available"
    if row["kind"] == "count":
        return f"{value:,.0f}"
    if row["kind"] == "percent":
        return f"{value:.0f}%"
    return with_interval(value, float(row["lower"]), float(row["upper"]), str(row["unit"]))


def wide(rows: pd.DataFrame, *, first: str = "", threshold: int = 10) -> pd.DataFrame:
    """A results table as rows x columns of text; `first` heads the column of row labels."""
    if rows.empty:
        return pd.DataFrame({first: []})
    text = rows.assign(text=[shown(row, threshold=threshold) for _, row in rows.iterrows()])
    order, columns = list(pd.unique(rows["row"])), list(pd.unique(rows["column"]))
    table = text.pivot(index="row", columns="column", values="text").reindex(index=order, columns=columns).fillna("")
    names = rows.drop_duplicates("row").set_index("row")["label"]
    table.insert(0, first, [starts_with_capital(str(names[row]).replace("_", " ")) for row in order])
    return table.reset_index(drop=True)


def effects_table(release: Release, *, roles: tuple[str, ...] = ("primary", "sensitivity", "naive")) -> pd.DataFrame:
    """Every estimate: outcome, role, estimator, estimate with interval, level, p-value, people, events."""
    outcomes = {o.key: o.label for o in release.protocol.outcomes}
    limit = facts.threshold(release)
    out = []
    for _, row in facts.effects(release, roles=roles).iterrows():
        out.append({
            "Outcome": outcomes.get(row["outcome"], row["outcome"]),
            "Role": ROLE_WORDS[row["role"]],
            "Estimator": estimator_words(row),
            "Estimate (interval)": "not estimable" if row["status"] in ("not_estimable", "refused")
            else shown(row, threshold=limit),
            "Level": f"{100 * row['level']:.1f}%" if math.isfinite(row["level"] + row["lower"]) else "",
            "p": p_text(float(row["p_value"])),
            "People": count(row["n_people"]), "Events": count(row["n_events"]),
        })  # fmt: skip
    names = ["Outcome", "Role", "Estimator", "Estimate (interval)", "Level", "p", "People", "Events"]
    return pd.DataFrame(out, columns=names)


def estimator_words(row: pd.Series) -> str:
    """An estimator's name as a referee reads it; its role stands in a column of its own."""
    words = ESTIMATOR_WORDS.get(row["estimator"], str(row["label"]).removesuffix(": not evidence of effect"))
    return starts_with_capital(words)


def p_text(p: float) -> str:
    return "" if not math.isfinite(p) else "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def count(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else ""


def checks_table(release: Release) -> pd.DataFrame:
    """Every check of every estimate and what it found."""
    outcomes = {o.key: o.label for o in release.protocol.outcomes}
    rows = release.table("checks.effects")
    return pd.DataFrame({
        "Estimate": [f"{outcomes.get(r.outcome, r.outcome)}, {r.role}" for r in rows.itertuples()],
        "Check": [starts_with_capital(str(r.label)) for r in rows.itertuples()],
        "Result": [CHECK_WORDS.get(r.unit, r.unit) for r in rows.itertuples()],
        "What it found": [full_stop(str(r.reason)) if r.reason else "" for r in rows.itertuples()],
    })  # fmt: skip


def risk_checks_table(release: Release) -> pd.DataFrame:
    """Every check of the risk models and what it found; those that found the same are one line."""
    found = read_checks(release) if release.protocol.risk_model else []
    rows = [[whom, check, CHECK_WORDS.get(result, result), full_stop(reason) if reason else ""]
            for whom, check, result, reason in found]  # fmt: skip
    return pd.DataFrame(rows, columns=["Model", "Check", "Result", "What it found"])


def data_table(release: Release) -> pd.DataFrame:
    """The tables read, with rows and people."""
    table = wide(release.table("data_tables"), first="Table", threshold=facts.threshold(release))
    return table.rename(columns={"rows": "Rows", "people": "People"})


def missing_numbers(release: Release) -> pd.DataFrame:
    """Columns with gaps that are gaps: how many values, and what share."""
    rows = release.table("data_missing")
    rows = rows[[not empty_by_nature(str(row)) for row in rows["row"]]]
    if rows.empty:
        return pd.DataFrame(columns=["Column", "Missing", "Share"])
    table = wide(rows, first="Column", threshold=facts.threshold(release))
    return table.rename(columns={"missing": "Missing", "percent": "Share"})


def cost_relative_table(release: Release) -> pd.DataFrame:
    """Spent, would have been spent, and the relative change with its interval."""
    rows = release.table("cost_relative")
    limit = facts.threshold(release)
    out = []
    for _, row in rows.iterrows():
        text = shown(row, threshold=limit)
        if row["column"] == "relative_change" and math.isfinite(row["value"]):
            ends = [f"{100 * row[c]:+.1f}%".replace("-", "−") for c in ("value", "lower", "upper")]
            text = f"{ends[0]} ({ends[1]} to {ends[2]})"
        out.append({"Quantity": str(row["label"]), "Value": text})
    return pd.DataFrame(out, columns=["Quantity", "Value"])


def claims_table(release: Release) -> pd.DataFrame:
    """Claims for referees: text, source, whether the source was seen, claimed and found change, relation."""
    seen = {"seen": "source seen", "seed": "given in the brief", "remembered": "from memory, not verified"}
    findings = assess_claims(release)
    return pd.DataFrame({
        "Claim": [f.claim.text for f in findings],
        "Source": [f"{f.claim.source} ({seen[f.claim.checked]})" for f in findings],
        "Claimed": [f.claimed_words for f in findings],
        "Found (interval)": [f.found_words for f in findings],
        "Before and after only": ["" if math.isnan(f.before_after) else percent_change(1 + f.before_after)
                                  for f in findings],
        "How they stand": [f.text for f in findings],
    })  # fmt: skip


def plain_claims_table(release: Release) -> pd.DataFrame:
    """Claims for peers: what was said, what we found, how they stand."""
    findings = assess_claims(release)
    return pd.DataFrame({
        "What was said": [f.claim.text for f in findings],
        "What we found": [starts_with_capital(f.found_words) for f in findings],
        "How they stand": [f.text for f in findings],
    })  # fmt: skip


def attrition_table(release: Release) -> pd.DataFrame:
    """Who is in and who is out."""
    return wide(release.table("attrition"), first="Step", threshold=facts.threshold(release)).rename(
        columns={"people": "People"}
    )


def table_one(release: Release) -> pd.DataFrame:
    """Table 1: groups side by side, each with count and percentage."""
    rows = release.table("table1")
    limit = facts.threshold(release)
    columns = facts.treated_first([str(c) for c in pd.unique(rows["column"]) if not c.endswith(" %")],
                                  facts.treated_group(release.protocol))  # fmt: skip
    cells = {(r["row"], r["column"]): r for _, r in rows.iterrows()}
    names = rows.drop_duplicates("row").set_index("row")["label"]
    out = []
    for row in pd.unique(rows["row"]):
        line = {"Characteristic": str(names[row])}
        for column in columns:
            cell, percent = cells.get((row, column)), cells.get((row, f"{column} %"))
            text = "" if cell is None else shown(cell, threshold=limit)
            if cell is not None and percent is not None and percent["status"] == "shown" and cell["status"] == "shown":
                text += f" ({shown(percent)})"
            line[column] = text
        out.append(line)
    return pd.DataFrame(out, columns=["Characteristic", *columns])


def estimands_table(release: Release) -> pd.DataFrame:
    """What was to be estimated, as the protocol fixed it."""
    protocol = release.protocol
    rows = []
    for outcome in protocol.outcomes:
        estimand = protocol.estimand(outcome)
        rows.append({
            "Outcome": outcome.label, "Role": outcome.role.capitalize(), "Contrast": estimand.contrast,
            "Scale": SCALE_WORDS[estimand.scale], "Estimator": ESTIMATOR_WORDS[outcome.estimator],
            "Better": outcome.better,
        })  # fmt: skip
    return pd.DataFrame(rows)


def definitions_table(release: Release) -> pd.DataFrame:
    """Each outcome's definition."""
    outcomes = release.protocol.outcomes
    return pd.DataFrame({"Outcome": [o.label for o in outcomes], "Definition": [o.definition for o in outcomes]})


def not_estimable_table(release: Release) -> pd.DataFrame:
    """Planned estimates with no number, and why."""
    rows = facts.not_shown(release)
    outcomes = {o.key: o.label for o in release.protocol.outcomes}
    limit = facts.threshold(release)
    return pd.DataFrame({
        "Outcome": [outcomes.get(r["outcome"], r["outcome"]) for _, r in rows.iterrows()],
        "Estimate": [f"{ROLE_WORDS[r['role']]}: {estimator_words(r)}" for _, r in rows.iterrows()],
        "Why there is no number": [
            starts_with_capital(shown(r, threshold=limit).removeprefix("not estimable: ")) for _, r in rows.iterrows()
        ],
    })  # fmt: skip


def suppression_table(release: Release) -> pd.DataFrame:
    """How many numbers of each table were held back, by rule."""
    suppressed = release.manifest.get("suppressed", [])
    rules = ("primary", "linked", "complementary")
    counts: dict[str, dict[str, int]] = {}
    for item in suppressed:
        table = str(item.get("id", "")).split("/")[0]
        counts.setdefault(table, dict.fromkeys(rules, 0))
        rule = str(item.get("rule", "primary"))
        counts[table][rule] = counts[table].get(rule, 0) + 1
    frame = release.results.frame
    total = frame.groupby("table", sort=False).size()
    return pd.DataFrame(
        [[name, str(int(total.get(name, 0))), *(str(found[rule]) for rule in rules)] for name, found in counts.items()],
        columns=["Table", "Numbers", "Too small", "Linked to one too small", "To stop subtraction"],
    )


def readmission_table(release: Release) -> pd.DataFrame:
    """Readmissions by group and period: discharges, and percentages readmitted."""
    rows = release.table("readmission_counts")
    limit = facts.threshold(release)
    out = []
    treated = facts.treated_group(release.protocol)
    order = sorted(pd.unique(rows["row"]), key=lambda r: (not r.startswith(f"{treated}|"), not r.endswith("|before")))
    for row in order:
        group, _, period = str(row).rpartition("|")
        cells = rows[rows["row"] == row].set_index("column")
        line = {"Group and period": f"{group}, {period}"}
        for name, column in (("Discharges", "discharges"), ("Back within 30 days", "readmitted_30d"),
                             ("within 90 days", "readmitted_90d"), ("within 365 days", "readmitted_365d"),
                             ("Died within 365 days", "died_365d")):  # fmt: skip
            text = shown(cells.loc[column], threshold=limit) if column in cells.index else ""
            percent = f"{column}_percent"
            if percent in cells.index and cells.loc[percent, "status"] == "shown":
                text += f" ({shown(cells.loc[percent])})"
            line[name] = text
        out.append(line)
    return pd.DataFrame(out)


def digests_table(release: Release) -> pd.DataFrame:
    """What the numbers were made from: digests, version, environment, profile."""
    manifest = release.manifest
    environment = manifest.get("environment", {})
    lines = {
        "evalkit": manifest.get("evalkit_version", "not recorded"),
        "Protocol (SHA-256)": manifest.get("protocol_digest", release.protocol.digest),
        "Tables (SHA-256)": manifest.get("data_digest", "not recorded"),
        "Code (SHA-256)": manifest.get("code_digest", "not recorded"),
        "Disclosure profile": release.protocol.disclosure.profile,
    }
    if isinstance(environment, dict):
        lines |= {f"Environment: {k}": v for k, v in environment.items() if isinstance(v, str | int | float)}
    elif environment:
        lines["Environment"] = environment
    return pd.DataFrame({"What": list(lines), "Value": [str(v) for v in lines.values()]})


def recurrence_table(release: Release) -> pd.DataFrame:
    """Returns to hospital: people, those who came back, returns, deaths and the rate per 1,000 days at risk."""
    rows = release.table("description.recurrence")
    limit = facts.threshold(release)
    names = {"people": "People", "people_readmitted": "Came back", "readmissions": "Returns", "deaths": "Deaths",
             "readmissions_per_1000_days": "Returns per 1,000 days"}  # fmt: skip
    out = []
    for row in dict.fromkeys(rows["row"]):
        cells = rows[rows["row"] == row].set_index("column")
        line = {"Group": starts_with_capital(str(cells["label"].iloc[0]))}
        line |= {name: shown(cells.loc[c], threshold=limit) if c in cells.index else "" for c, name in names.items()}
        out.append(line)
    return pd.DataFrame(out, columns=["Group", *names.values()])


def plain_money_table(release: Release, *, names: Callable[[str], str]) -> pd.DataFrame:
    """What was spent on each person in the treated area, before and after, by kind of service."""
    rows = release.table("cost_parts")
    limit = facts.threshold(release)
    group = facts.treated_group(release.protocol)
    cells = {(r["row"], r["column"]): shown(r, threshold=limit) for _, r in rows.iterrows()}
    return pd.DataFrame({
        "Kind of service": [names(str(row)) for row in dict.fromkeys(rows["row"])],
        "Before": [cells.get((row, f"{group}|before"), "") for row in dict.fromkeys(rows["row"])],
        "After": [cells.get((row, f"{group}|after"), "") for row in dict.fromkeys(rows["row"])],
    })  # fmt: skip


def money_parts_table(release: Release) -> pd.DataFrame:
    """Cost by kind of service, in GBP per person-quarter."""
    rows = release.table("cost_parts")
    table = wide(rows, first="Kind of service", threshold=facts.threshold(release))
    return table.rename(columns={c: c.replace("|", ", ") for c in table.columns})
