"""What the service said of itself, beside what was found."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from evalkit.core.protocol import Claim
from evalkit.report import facts
from evalkit.report.phrases import counterfactual_risk, full_stop, percent_change, starts_with_capital
from evalkit.report.plain import plain_reason
from evalkit.report.words import Finding

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

Relation = Literal["inside", "outside", "not_tested", "cannot"]

RELATION_WORDS: dict[Relation, str] = {
    "inside": "The claim lies inside the range of doubt",
    "outside": "The claim lies outside the range of doubt",
    "not_tested": "Not tested",
    "cannot": "Cannot be tested here",
}


@dataclass(frozen=True)
class ClaimFinding:
    """A claim of the protocol and how the planned estimate stands to it.

    `found`, `lower`, `upper` are relative changes (−0.4 = 40% lower); NaN where there is none.
    """

    claim: Claim
    relation: Relation
    found: float
    lower: float
    upper: float
    before_after: float
    text: str

    @property
    def claimed_words(self) -> str:
        return "" if self.claim.relative_change is None else percent_change(1 + self.claim.relative_change)

    @property
    def found_words(self) -> str:
        if not math.isfinite(self.found):
            return {"not_tested": "not tested", "cannot": "no number"}.get(self.relation, "not available")
        words = percent_change(1 + self.found)
        if math.isfinite(self.lower) and math.isfinite(self.upper):
            words += f" (from {percent_change(1 + self.lower)} to {percent_change(1 + self.upper)})"
        return words


def assess_claims(release: Release) -> list[ClaimFinding]:
    """Every claim of the protocol, in its order."""
    return [assess_claim(release, claim) for claim in release.protocol.claims]


def assess_claim(release: Release, claim: Claim) -> ClaimFinding:
    """Set one claim beside the planned estimate of its outcome.

    A relative claim is compared with the interval of the relative change against what would have happened
    without the service. A claim of an amount of money is not tested: an amount saved on a budget is not
    a difference from what would have happened. A count or a description of the service is not an effect.
    """
    if not claim.outcome:
        return _without(claim, "not_tested", claim.note or "This is not a statement about an effect.")
    if claim.relative_change is None:
        return _without(
            claim, "cannot",
            "The claim is about a budget. This evaluation compares with what would have happened, not with a budget.",
        )  # fmt: skip
    finding = facts.finding(release, release.protocol.outcome(claim.outcome))
    if finding is None:
        return _without(claim, "cannot", "No estimate of this was planned in this run.")
    if finding.certainty == "not_released":
        return _without(claim, "cannot", "The estimate is not released, because too few people are behind it.")
    if not finding.has_number:
        return _without(claim, "cannot", plain_reason(finding.reason))
    change = (_budget_change(release, claim) or _stated_change(release, finding)
              or relative_change(release, finding))  # fmt: skip
    if not all(math.isfinite(x) for x in change):
        return _without(
            claim,
            "cannot",
            "The estimate cannot be turned into a percentage, because what was expected is not released.",
        )
    naive = facts.naive_finding(release, finding.outcome)
    before = relative_change(release, naive)[0] if naive and finding.outcome.scale == "rate_ratio" else math.nan
    found = _compared(claim, *change, before)
    return replace(found, text=" ".join([found.text, *_budget_words(release, claim)]))


def _budget_row(claim: Claim) -> str:
    return f"from_year_{claim.from_year}"


def _budget_change(release: Release, claim: Claim) -> tuple[float, float, float] | None:
    """The change of spending in the years that the claim names, where the release holds it with an interval."""
    row = facts.cell(release, "budget", _budget_row(claim), "estimated_share")
    if row is None or row["status"] != "shown" or not math.isfinite(row["lower"] + row["upper"]):
        return None
    return -float(row["value"]), -float(row["upper"]), -float(row["lower"])


def _budget_words(release: Release, claim: Claim) -> list[str]:
    """A claim made beside a budget is also told beside it: by that measure it may be right."""
    share = facts.cell_value(release, "budget", _budget_row(claim), "claimed_share")
    if not math.isfinite(share):
        return []
    met = round(100 * share) >= round(-100 * float(claim.relative_change or 0.0))
    return [f"Beside the old budget, spending was {percent_change(1 - share)}{', as was said' if met else ''}."]


def _stated_change(release: Release, finding: Finding) -> tuple[float, float, float] | None:
    """The relative change of cost with an interval of its own, where the release holds one."""
    row = facts.cell(release, "cost_relative", finding.outcome.key, "relative_change")
    if finding.outcome.kind != "cost" or row is None or row["status"] != "shown":
        return None
    return float(row["value"]), float(row["lower"]), float(row["upper"])


def relative_change(release: Release, finding: Finding) -> tuple[float, float, float]:
    """The effect and its range as a change relative to what was expected; NaN where that is not known."""
    value, lower, upper = finding.value, finding.lower, finding.upper
    if finding.outcome.scale == "rate_ratio":
        return value - 1, lower - 1, upper - 1
    if finding.outcome.scale == "gbp_per_person_quarter":
        base = facts.counterfactual_cost(release)
    else:
        base = counterfactual_risk(finding, facts.observed_risk(release, finding.outcome))[0]
    if not (math.isfinite(base) and base > 0):
        return math.nan, math.nan, math.nan
    return value / base, lower / base, upper / base


def _without(claim: Claim, relation: Relation, why: str) -> ClaimFinding:
    text = f"{RELATION_WORDS[relation]}. {full_stop(starts_with_capital(why))}"
    return ClaimFinding(claim, relation, math.nan, math.nan, math.nan, math.nan, text)


def _compared(claim: Claim, found: float, lower: float, upper: float, before: float) -> ClaimFinding:
    target = float(claim.relative_change or 0.0)
    inside = lower <= target <= upper
    none_inside = lower <= 0 <= upper
    relation: Relation = "inside" if inside else "outside"
    if inside and none_inside:
        end = "So does no change at all. These figures cannot settle it."
    elif inside:
        end = "No change at all lies outside it."
    elif none_inside:
        end = "No change at all lies inside it."
    elif (found > 0) != (target > 0):
        end = "What we found went the other way."
    else:
        size = "smaller" if abs(found) < abs(target) else "larger"
        end = f"What we found went the same way, but was {size}."
    text = f"{RELATION_WORDS[relation]}. {end}"
    return ClaimFinding(claim, relation, found, lower, upper, before, text)
