"""Budgets in the peer report: the saving that was promised, what is not counted, and what it might mean elsewhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evalkit.core.protocol import Claim
from evalkit.report import figures_budget
from evalkit.report.display import show_figure, show_text
from evalkit.report.phrases import full_stop, service_short, starts_with_capital
from evalkit.report.plain import plain_reason
from evalkit.report.value_facts import (
    Amount,
    budget_claim,
    budget_relation,
    claim_row,
    cost_outcome,
    has_numbers,
    no_number,
    plain_pounds,
    read_amount,
    reasons_of,
)

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_NOT_COUNTED = (
    "Help from family and friends.",
    "What people paid themselves.",
    "Family doctors, medicines and general hospitals.",
    "Police, courts and prisons.",
    "How people felt. A better life is not in the pounds.",
)
_BENEFITS = "Benefits, such as those that pay the rent."


# ---- the claim -----------------------------------------------------------------------------------------


def show_claim(release: Release) -> None:
    """What was claimed beside what was found, and why the old budget is the wrong yardstick."""
    claim, service = budget_claim(release), service_short(release.protocol.study)
    parts = ["### The saving that was promised"]
    if claim is None:
        parts.append("The plan lists no promise to save a share of the budget.")
    else:
        parts.append(f"This was said: {full_stop(claim.text)}")
    parts.append(
        "An old budget is what somebody meant to spend. It is not what would have been spent. Needs and prices change "
        "in every place. So spending can fall below an old budget by itself. The fair question is: what would have "
        f"been spent without {service}?"
    )
    parts += _budget_words(release, service)
    row = claim_row(release, claim)
    claimed = read_amount(release, "budget", row, "claimed_share")
    estimated = read_amount(release, "budget", row, "estimated_share")
    if claimed.has_number or estimated.has_number:
        first = "" if row == "all" else f" from year {claim.from_year} on"
        parts.append(f"We took all the years{first} together.")
        parts.append("\n".join([
            f"- **Beside the old budget:** {_share_words(claimed, None)}",
            f"- **Beside what we think would have been spent:** {_share_words(estimated, claim)}",
        ]))  # fmt: skip
    if claim is not None:
        if claimed.has_number:
            promised = round(-100 * float(claim.relative_change or 0.0))
            kept = "was kept" if round(100 * claimed.value) >= promised else "was **not** kept"
            parts.append(f"Beside the old budget, the promise {kept}. But that is not the fair question.")
        parts.append(_relation_words(claim, estimated, service))
    show_text("\n\n".join(p for p in parts if p), id="text-value-claim")
    rows = release.table("budget")
    if rows[(rows["row"] != "all") & rows["value"].notna()].empty:
        return
    names = {"original": "The old budget", "counterfactual": f"What we think would have been spent without {service}",
             "actual": "What was spent"}  # fmt: skip
    show_figure(figures_budget.plot_budget(rows, names=names), id="fig-value-budget",
                caption="The old budget, what we think would have been spent, and what was spent",
                alt=figures_budget.describe_budget(rows, names=names))  # fmt: skip


def _budget_words(release: Release, service: str) -> list[str]:
    """Where what would have been spent lies beside the old budget, in all years together."""
    original, counter = (read_amount(release, "budget", "all", c) for c in ("original", "counterfactual"))
    if not has_numbers(release, "budget"):
        reasons = reasons_of(release, "budget")
        return [f"We could not set budgets beside it. {full_stop(plain_reason(reasons[0]))}" if reasons else
                "This release holds no budgets."]  # fmt: skip
    if not (original.has_number and counter.has_number):
        return []
    gap = counter.value - original.value
    told = f"The old budget came to {plain_pounds(original.value)} in these years. Without {service}, we think "
    told += f"{plain_pounds(counter.value)} would have been spent."
    if abs(gap) < 0.005 * original.value:
        return [f"{told} Here the two are about the same."]
    actual = read_amount(release, "budget", "all", "actual")
    return [f"{told} That is about {plain_pounds(gap)} {'less' if gap < 0 else 'more'}. "
            f"{_yardstick_words(original.value, actual.value, counter.value)}".strip()]  # fmt: skip


def _yardstick_words(original: float, actual: float, counter: float) -> str:
    """What the old budget hides: a fall that came anyway, or part of a saving; nothing where that is not known."""
    if not math.isfinite(actual):
        return ""
    if counter < original:
        if actual >= original:
            return "So the old budget makes any extra spending look smaller."
        how = "all" if counter <= actual else "part"
        return f"So {how} of the fall below the old budget seems to have come anyway."
    if actual < original:
        return "So the old budget would hide part of any saving."
    return "So the old budget was too low to compare with."


def _share_words(share: Amount, claim: Claim | None) -> str:
    """`16 pounds saved, out of every 100 pounds. It could be 9 pounds saved, or 23 pounds saved.`"""
    if not share.has_number:
        return no_number(share)
    found = _of_hundred(share.value)
    text = "about the same." if found == "no change" else f"{found}, out of every 100 pounds."
    if share.has_range:
        promised = None if claim is None else -float(claim.relative_change or 0.0)
        text += f" It could be {_end(share.lower, promised)}, or {_end(share.upper, promised)}."
    return starts_with_capital(text)


def _end(share: float, promised: float | None) -> str:
    """An end of the range; one that only rounding puts on the promise says so."""
    words = _of_hundred(share)
    if promised is None or round(100 * share) != round(100 * promised):
        return words
    return f"just {'under' if share < promised else 'over'} {words}" if share != promised else words


def _of_hundred(share: float) -> str:
    size = round(100 * abs(share))
    if size == 0:
        return "less than 1 pound saved" if share > 0 else "less than 1 pound more spent" if share < 0 else "no change"
    return f"{size} pound{'' if size == 1 else 's'} {'saved' if share > 0 else 'more spent'}"


def _relation_words(claim: Claim, estimated: Amount, service: str) -> str:
    """How the promise stands to the range, whether no saving lies in it, and which way what was found points."""
    relation, promised = budget_relation(claim, estimated), -float(claim.relative_change or 0.0)
    if relation == "cannot":
        return "So the promise cannot be checked here."
    none_inside = estimated.lower <= 0 <= estimated.upper
    if relation == "inside" and none_inside:
        return "The promise lies inside the range of doubt. So does no saving at all. These figures cannot settle it."
    if relation == "inside":
        return (f"The promise lies inside the range of doubt. No saving at all lies outside it. So the figures suggest "
                f"that {service} saved money.")  # fmt: skip
    lead = "The promise lies outside the range of doubt."
    if none_inside:
        return f"{lead} No saving at all lies inside it. So we cannot tell if anything was saved."
    if estimated.value < 0:
        return f"{lead} The figures suggest that **more** was spent, not less."
    return f"{lead} The figures suggest a saving, but {'a smaller' if estimated.value < promised else 'a larger'} one."


# ---- what is not counted, and elsewhere -----------------------------------------------------------------


def show_not_counted(release: Release) -> None:
    """What no pound here stands for, and prices whose source nobody has seen."""
    perspective = cost_outcome(release).perspective
    lines = list(_NOT_COUNTED)
    if perspective != "public_sector":
        lines.insert(2, _BENEFITS)
    if perspective == "nhs":
        lines.insert(0, "What the council spent.")
    if perspective == "local_authority":
        lines.insert(0, "What the NHS spent.")
    parts = [
        "### What is not counted",
        "The pounds in this report leave out a lot:",
        "\n".join(f"- {x}" for x in lines),
    ]
    rows = release.table("price_list")
    open_ = int(rows["label"].str.endswith("not verified").sum())
    if open_:
        parts.append(f"We worked with {len(rows)} prices. For {open_} of them we have not seen the source. If they are "
                     "wrong, the pounds are wrong too.")  # fmt: skip
    show_text("\n\n".join(parts), id="text-value-not-counted")


def show_elsewhere(release: Release) -> None:
    """What the same change would mean in another place, and why nobody knows if it would come."""
    places = release.protocol.economics.what_if
    service = service_short(release.protocol.study)
    parts = ["### What it might mean elsewhere"]
    if not places:
        parts.append("The plan did not ask about other places.")
    elif not has_numbers(release, "what_if"):
        reasons = reasons_of(release, "what_if")
        parts.append(f"We could not work this out. {full_stop(plain_reason(reasons[0]))}" if reasons else
                     "This release holds nothing on other places.")  # fmt: skip
    else:
        parts.append(f"Say another place had {service}, and spending changed there as it did here. This is a sum, not "
                     "something that anybody saw. What happened in one place may not happen in another.")  # fmt: skip
        for place in places:
            parts.append(_place_words(release, place.key, place.label))
    show_text("\n\n".join(parts), id="text-value-elsewhere")


def _place_words(release: Release, key: str, label: str) -> str:
    head = f"**{full_stop(starts_with_capital(label))}**"
    change = read_amount(release, "what_if", key, "saving").turned()
    if not change.has_number:
        return f"{head} {no_number(change)}"
    text = f"{head} In a year, all other help could cost about {_more_or_less(change.value)}."
    if change.has_range:
        text += f" The range goes from {_more_or_less(change.lower)} to {_more_or_less(change.upper)}."
    if change.certainty() == "too_uncertain":
        text += " So we cannot tell if anything would be saved."
    first = read_amount(release, "what_if", key, "net_year_one").turned()
    if first.has_number:
        text += " Then there is the cost of the service and of starting it."
        text += f" With both, the first year could cost about {_more_or_less(first.value)}."
    if first.has_range and first.certainty() == "too_uncertain":
        text += " That could be a saving or a loss."
    return text


def _more_or_less(change: float) -> str:
    words = plain_pounds(change)
    return "the same" if words == "£0" else f"{words} {'less' if change < 0 else 'more'}"
