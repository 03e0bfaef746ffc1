"""Deviations from the protocol and limitations in the academic report, both made from what the release holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evalkit.core.outcomes import Outcome
from evalkit.report import facts, tables
from evalkit.report.academic_coverage import falls_short, load_coverage
from evalkit.report.display import show_table, show_text
from evalkit.report.phrases import full_stop, listed
from evalkit.report.plain import referee_reason
from evalkit.report.risk_words import read_checks
from evalkit.review.record import Review

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_LEVEL_STEP = 0.0005  # levels are printed to a tenth of a percent
AFTERWARDS = "asked after the results were seen"


def show_deviations(release: Release, review: Review | None = None) -> None:
    """What was planned and done otherwise, what was done and not planned, and what readers asked for afterwards."""
    table = build_deviations(release)
    if len(table):
        show_text("What was planned and not done as planned, found by setting the release beside the protocol. The "
                  "digest of the protocol stands on every number, and the gate refuses a number that carries "
                  "another.", id="text-deviations")  # fmt: skip
        show_table(table, id="tab-deviations", caption="Deviations from the protocol")
    else:
        show_text("Everything planned was done as planned. The digest of the protocol stands on every number, and the "
                  "gate refuses a number that carries another.", id="text-no-deviations")  # fmt: skip
    exploratory = tables.effects_table(release, roles=("exploratory",))
    if len(exploratory):
        show_text("The estimates below were not planned. They raise questions and answer none.", id="text-exploratory")
        show_table(exploratory, id="tab-exploratory", caption="Exploratory estimates")
    else:
        show_text("No estimate outside the protocol is in this release.", id="text-no-exploratory")
    asked = [c for c in (review or Review()).counted if c.status == "needs_analysis"]
    if asked:
        late = sum(c.after_results for c in asked)
        show_text(f"Readers' comments ask for new work in {listed([c.id for c in asked])}; {late} of {len(asked)} "
                  f"{'was' if late == 1 else 'were'} {AFTERWARDS}. Such an analysis is exploratory.",
                  id="text-asked-afterwards")  # fmt: skip


def build_deviations(release: Release) -> pd.DataFrame:
    """One row a deviation: `What`, `Planned`, `Done`, `Why`; no row where all went as planned."""
    rows = [row for outcome in release.protocol.outcomes for row in _of_outcome(release, outcome)]
    rows += [row for outcome in release.protocol.outcomes_of("rate") for row in _of_designs(release, outcome)]
    return pd.DataFrame(rows, columns=["What", "Planned", "Done", "Why"])


def _of_outcome(release: Release, outcome: Outcome) -> list[dict[str, str]]:
    """Estimates of the effect that were refused, withheld or left out, and intervals of another level."""
    rows = release.table("effects")
    key = release.protocol.estimand(outcome).key
    own = rows[(rows["estimand"] == key) & rows["role"].isin(["primary", "sensitivity"])]
    found = []
    if own.empty:
        return [_row(outcome.label, "an estimate", "not in this release", "")]
    for _, row in own.iterrows():
        name = tables.estimator_words(row)
        if row["status"] != "shown":
            done = "withheld" if row["status"] == "suppressed" else "no number"
            found.append(_row(outcome.label, name, done, full_stop(referee_reason(str(row["reason"])))))
        elif row["lower"] != row["lower"]:
            found.append(_row(outcome.label, f"{name}, with an interval", "no interval",
                              "The checks beside it say why."))  # fmt: skip
        elif abs(row["level"] - release.protocol.study.level) > _LEVEL_STEP:
            found.append(_row(outcome.label, f"{name}, {100 * release.protocol.study.level:.1f}% interval",
                              f"{100 * row['level']:.1f}% interval",
                              "The level that a permutation test on this number of areas attains."))  # fmt: skip
    return found


def _of_designs(release: Release, outcome: Outcome) -> list[dict[str, str]]:
    """Other designs that gave no number, together by their reason."""
    rows = release.table(f"designs.{outcome.key}")
    refused = rows[(rows["kind"] == "estimate") & (rows["status"] != "shown") & (rows["role"] != "primary")]
    reasons: dict[str, list[str]] = {}
    for _, row in refused.iterrows():
        reasons.setdefault(full_stop(referee_reason(str(row["reason"]))), []).append(tables.estimator_words(row))
    return [_row(f"{outcome.label}: other designs", listed(names), "no number", why) for why, names in reasons.items()]


def _row(what: str, planned: str, done: str, why: str) -> dict[str, str]:
    return {"What": what, "Planned": planned, "Done": done, "Why": why}


# ---- limitations -----------------------------------------------------------------------------------


def show_limitations(release: Release) -> None:
    """Limitations made from failed checks, the design, the records, coverage, and suppressed numbers."""
    lines = [*_failed_checks(release), *_of_design(release), *_of_records(release), *_of_coverage(release)]
    held = int(release.manifest.get("counts", {}).get("suppressed", 0))
    if held:
        lines.append(
            f"{held} numbers are withheld by disclosure control; small groups cannot be read from this report."
        )
    show_text("\n".join(f"- {line}" for line in dict.fromkeys(lines)), id="text-limitations")


def _failed_checks(release: Release) -> list[str]:
    protocol = release.protocol
    outcomes = {o.key: o.label for o in protocol.outcomes}
    failed: dict[str, list[str]] = {}
    checks = release.table("checks.effects")
    for row in checks[checks["unit"] == "failed"].itertuples():
        failed.setdefault(str(row.reason), []).append(outcomes.get(row.outcome, row.outcome))
    lines = [f"{full_stop(text)} ({', '.join(dict.fromkeys(names))})" for text, names in failed.items()]
    for outcome in protocol.outcomes:
        row = facts.main_row(release, outcome)
        known = set() if row is None else set(facts.check_words(release, row))
        for text in [] if row is None else facts.weaknesses(release, row):
            if text not in known:
                lines.append(f"{outcome.label}: {text}")
    checked = read_checks(release) if protocol.risk_model else []
    return lines + [f"{whom}: {full_stop(why)}" for whom, _, result, why in checked if result == "failed" and why]


def _of_design(release: Release) -> list[str]:
    protocol = release.protocol
    lines = []
    if protocol.exposure.by == "area" and facts.any_number(release):
        lines.append("The assumption of parallel (or proportional) change cannot be tested after adoption. Years "
                     "before adoption speak to it only as far as they are precise.")  # fmt: skip
        primary = sum(o.role == "primary" for o in protocol.outcomes)
        lines.append(f"{primary} primary outcome{'s were' if primary != 1 else ' was'} planned. Intervals are not "
                     "adjusted for their number.")  # fmt: skip
    if protocol.exposure.by == "area" and len(protocol.areas.treated) == 1:
        lines.append(f"One area was treated. Whatever else happened in {protocol.areas.treated_label} alone after "
                     "adoption cannot be told from the service.")  # fmt: skip
    if protocol.exposure.by == "programme":
        lines.append("People in the programme and others were not made comparable; no contrast between them is causal.")
    return lines


def _of_records(release: Release) -> list[str]:
    """What follows from data that were not made for this question."""
    if release.protocol.study.synthetic:
        lines = ["The records are simulated, in the form of records made for care and payment."]
    else:
        lines = ["The records were made for care and payment, not for this question."]
    lines[0] += (" What is not recorded (need, severity, support by family, what people wanted) cannot be adjusted "
                 "for, and a change in recording looks like a change in use.")  # fmt: skip
    missing = release.table("data_missing")
    if missing["value"].notna().any():
        lines.append("Some values are not recorded (tab-missing); what was done about it assumes that they differ "
                     "little from those that are.")  # fmt: skip
    return lines


def _of_coverage(release: Release) -> list[str]:
    """Primary estimators whose intervals hold the truth too seldom on simulated worlds."""
    rows, _ = load_coverage()
    labels = {release.protocol.estimand(o).key: o.label for o in release.protocol.outcomes if o.role == "primary"}
    short = [f"{labels[r.estimand]} ({100 * r.coverage:.1f}%)" for r in rows.itertuples()
             if r.role == "primary" and r.estimand in labels and falls_short(r.coverage, r.coverage_mcse)]  # fmt: skip
    if not short:
        return []
    return [f"On simulated worlds like these, nominal 95% intervals held the truth too seldom for {listed(short)}."]
