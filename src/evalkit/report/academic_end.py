"""The academic report's judgement of itself: claims, checks, gaps, limitations, disclosure control, provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.report import facts, tables
from evalkit.report.display import show_table, show_text
from evalkit.report.phrases import full_stop
from evalkit.report.risk_words import read_checks

if TYPE_CHECKING:
    from evalkit.disclose.release import Release


def show_claims(release: Release) -> None:
    """Each claim beside the estimate."""
    table = tables.claims_table(release)
    if table.empty:
        show_text("The protocol lists no statement about the service.", id="text-no-claims")
        return
    text = ("A relative claim is compared with the interval of the relative change against the counterfactual. "
            "A sum of money "
            "saved on a budget is not a difference from what would have happened and is not tested.")  # fmt: skip
    if release.protocol.study.synthetic:
        text += (
            " The records are simulated: the comparison shows the method and says nothing on whether a claim is true."
        )
    show_text(text, id="text-claims")
    show_table(table, id="tab-claims", caption="Statements about the service and the estimates",
               note="The column before and after only is not evidence of effect.")  # fmt: skip


def show_checks(release: Release) -> None:
    """Every check of every estimate and of the risk models."""
    shown = False
    for table, name, caption in (
        (tables.checks_table(release), "tab-checks", "Checks of estimates"),
        (tables.risk_checks_table(release), "tab-risk-checks", "Checks of the risk models"),
    ):
        if len(table):
            shown = True
            show_table(table, id=name, caption=caption)
    if not shown:
        show_text("No estimate was made, so there was nothing to check.", id="text-no-checks")


def show_not_estimable(release: Release) -> None:
    """Planned estimates without a number."""
    table = tables.not_estimable_table(release)
    if table.empty:
        show_text("Every planned estimate has a number.", id="text-all-estimable")
    else:
        show_table(table, id="tab-not-estimable", caption="Planned estimates without a number, and why")


def show_deviations(release: Release) -> None:
    """Exploratory estimates; deviations are what the release holds outside the protocol."""
    table = tables.effects_table(release, roles=("exploratory",))
    if len(table):
        show_text("The estimates below were not planned. They raise questions and answer none.", id="text-exploratory")
        show_table(table, id="tab-exploratory", caption="Exploratory estimates")
    else:
        show_text("No estimate outside the protocol is in this release. The digest of the protocol stands on "
                  "every number, and "
                  "the gate refuses a number that carries another.", id="text-no-exploratory")  # fmt: skip


def show_limitations(release: Release) -> None:
    """Limitations made from failed checks, suppressed numbers and the design."""
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
    lines += [f"{whom}: {full_stop(reason)}" for whom, _, result, reason in checked if result == "failed" and reason]
    if protocol.study.synthetic:
        lines.append("The records are simulated.")
    if protocol.exposure.by == "area" and facts.any_number(release):
        lines.append("The assumption of parallel (or proportional) change cannot be tested after adoption. "
                     "Years before "
                     "adoption speak to it only as far as they are precise.")  # fmt: skip
        lines.append(f"{_outcomes_count(release)} Intervals are not adjusted for their number.")
    if protocol.exposure.by == "programme":
        lines.append("People in the programme and others were not made comparable; no contrast between them is causal.")
    held = int(release.manifest.get("counts", {}).get("suppressed", 0))
    if held:
        lines.append(
            f"{held} numbers are withheld by disclosure control; small groups cannot be read from this report."
        )
    show_text("\n".join(f"- {line}" for line in lines), id="text-limitations")


def _outcomes_count(release: Release) -> str:
    primary = sum(o.role == "primary" for o in release.protocol.outcomes)
    return f"{primary} primary outcome{'s were' if primary != 1 else ' was'} planned."


def show_disclosure(release: Release) -> None:
    """What the gate did."""
    profile, counts = release.manifest.get("profile", {}), release.manifest.get("counts", {})
    text = (f"Every number passed the profile *{profile.get('name', release.protocol.disclosure.profile)}*: "
            "counts below "
            f"{facts.threshold(release)} are withheld and the rest rounded to {profile.get('base', 5)}; numbers "
            "worked out from a "
            f"withheld count go with it; further numbers are withheld so that none can be had by subtraction. Of "
            f"{counts.get('numbers', len(release.results))} numbers, {counts.get('suppressed', 0)} are "
            "withheld.")  # fmt: skip
    show_text(text, id="text-disclosure")
    table = tables.suppression_table(release)
    if len(table):
        show_table(table, id="tab-suppression", caption="Numbers withheld, by table and rule")


def show_provenance(release: Release) -> None:
    """Digests of everything that the numbers were made from."""
    show_text("Each number in `results.parquet` names the notebook that made it and carries the digests of the "
              "protocol and the "
              "tables.", id="text-provenance")  # fmt: skip
    show_table(tables.digests_table(release), id="tab-provenance", caption="What the numbers were made from")
