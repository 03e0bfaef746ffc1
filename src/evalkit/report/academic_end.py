"""The end of the academic report: claims, checks, gaps, disclosure control and provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.report import facts, tables
from evalkit.report.academic_checks import show_more_checks
from evalkit.report.display import show_table, show_text

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
    show_more_checks(release)
    if not shown:
        show_text("No estimate was made, so there was nothing to check.", id="text-no-checks")


def show_not_estimable(release: Release) -> None:
    """Planned estimates without a number."""
    table = tables.not_estimable_table(release)
    if table.empty:
        show_text("Every planned estimate has a number.", id="text-all-estimable")
    else:
        show_table(table, id="tab-not-estimable", caption="Planned estimates without a number, and why")


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
    kept = facts.kept_from_before(release)
    if kept is not None:
        text += (f" An earlier release was given to the gate, and the two guarded together: {kept} numbers "
                 "are shown as they were there, because too few people or events changed to tell of them, and may lag "
                 "behind by fewer than that.")  # fmt: skip
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
