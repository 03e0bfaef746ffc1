"""Money in the peer report: who saved and who paid, use or price, what a day cost, the claim, and what is not counted.

Every sentence is at most 20 words long and follows from the release alone, whichever way the numbers fall.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evalkit.core.economics import Valued
from evalkit.report import facts, figures_budget
from evalkit.report.display import show_figure, show_text
from evalkit.report.peer_budget import show_claim, show_elsewhere, show_not_counted
from evalkit.report.phrases import service_short, signed_money, starts_with_capital
from evalkit.report.plain import plain_resource
from evalkit.report.value_facts import (
    Amount,
    Plane,
    cost_outcome,
    has_numbers,
    is_qaly,
    no_number,
    plain_pounds,
    read_amount,
    read_plane,
)
from evalkit.report.words import Certainty

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

EACH = "for each person every 3 months"
_CLEAR: tuple[Certainty, ...] = ("strong", "likely", "suggests")
_PAYERS = {"payer.nhs": "The NHS", "payer.local_authority": "The council"}
_DRAWS = 100  # answers that fit the records, for which shares are told
_STEP = {"days": 0.1, "score": 0.01}


def show_value(release: Release) -> None:
    """Everything that peers are told of costs and value, in order."""
    if release.protocol.economics is None or cost_outcome(release) is None:
        show_text("The plan did not ask who saved, who paid or what was gained for the money.", id="text-no-value")
        return
    show_who(release)
    show_use_or_price(release)
    show_gains(release)
    show_claim(release)
    show_not_counted(release)
    show_elsewhere(release)


# ---- who saved and who paid --------------------------------------------------------------------------


def show_who(release: Release) -> None:
    """The NHS and the council: less or more, the range, how sure, and whether one paid for what the other saved."""
    service = service_short(release.protocol.study)
    found = {row: read_amount(release, "cost_variants", row, "difference") for row in _PAYERS}
    parts = ["### Who saved and who paid"]
    if all(a.status == "absent" for a in found.values()):
        parts.append("The NHS and the council were not looked at one by one.")
    elif not any(a.has_number for a in found.values()):
        parts.append(no_number(next(iter(found.values()))))
    else:
        parts.append(f"This compares with what we think each would have spent without {service}. All is told "
                     f"{EACH}.")  # fmt: skip
        parts.append("\n".join(f"- **{_PAYERS[row]}:** {_change_words(a, service)}" for row, a in found.items()))
        parts.append(_who_words(*(found[row] for row in _PAYERS)))
        parts.append("Only a few areas are compared. Something else may have happened in one of them.")
    outcome = cost_outcome(release)
    if outcome.perspective in ("nhs_and_local_authority", "public_sector"):
        share = round(100 * release.protocol.economics.joint_nhs_share)
        parts.append(f"Some care is paid by both. Nobody wrote down how they share it. So we took {share} out of 100 "
                     "pounds to be from the NHS.")  # fmt: skip
    counted = "Its own cost is counted here" if outcome.include_programme else "Its own cost is not counted here"
    parts.append(f"{service} costs money too. {counted}.")
    show_text("\n\n".join(p for p in parts if p), id="text-value-who")


def _change_words(amount: Amount, service: str) -> str:
    """`about £640 less. It could be £1,200 less, or £80 less. The figures suggest that …`"""
    if not amount.has_number:
        return no_number(amount)
    best = signed_money(amount.value)
    text = "about as much as without it." if best == "no different" else f"about {best}."
    if amount.has_range:
        text += f" It could be {signed_money(amount.lower)}, or {signed_money(amount.upper)}."
    return f"{text} {_sure_words(amount, service)}"


def _sure_words(amount: Amount, service: str) -> str:
    """How sure, by the fixed ladder. None of these numbers is called more than a suggestion: few areas are compared."""
    if amount.certainty() == "too_uncertain":
        return f"So we cannot tell if {service} changed this."
    return f"So the figures suggest that {service} {'lowered' if amount.value < 0 else 'raised'} this."


def _who_words(nhs: Amount, council: Amount) -> str:
    clear = [a.certainty() in _CLEAR for a in (nhs, council)]
    if all(clear) and (nhs.value < 0) != (council.value < 0):
        saved, paid = ("NHS", "council") if nhs.value < 0 else ("council", "NHS")
        return f"So it seems that the {saved} saved and the {paid} paid more."
    if all(clear):
        return f"So it seems that both {'saved' if nhs.value < 0 else 'paid more'}."
    if any(clear):
        sure, name, other = (nhs, "NHS", "council") if clear[0] else (council, "council", "NHS")
        did = "saved" if sure.value < 0 else "paid more"
        return f"So it seems that the {name} {did}. For the {other} we cannot tell."
    return "So we cannot tell who saved and who paid."


# ---- use or price --------------------------------------------------------------------------------------


def show_use_or_price(release: Release) -> None:
    """Whether people used less or things cost less, with the picture of where the money went."""
    service = service_short(release.protocol.study)
    use, price = (read_amount(release, "cost_variants", row, "difference") for row in ("fixed_prices", "prices_alone"))
    parts = ["### Is it less use, or lower prices?",
             "Spending can change for two reasons. People may use more or less help. Or the same help may cost more or "
             "less. A change in price alone is no change in people's lives."]  # fmt: skip
    if use.status == price.status == "absent":
        parts.append("The two were not told apart here.")
    else:
        parts.append("\n".join([f"- **Use, had prices stayed the same:** {_change_words(use, service)}",
                                f"- **Prices, for the same use:** {_change_words(price, service)}"]))  # fmt: skip
        parts.append(_use_words(use, price))
    show_text("\n\n".join(p for p in parts if p), id="text-value-use")
    if not has_numbers(release, "cost_change"):
        return
    rows = release.table("cost_change")
    rows = rows.assign(label=["All" if r.row == "total" else plain_resource(str(r.row)) for r in rows.itertuples()])
    found = list(dict.fromkeys(rows["column"].str.rsplit("|", n=1).str[0]))
    groups = facts.treated_first(found, facts.treated_group(release.protocol))
    show_text("The picture shows where the money went before and after. It does not show what caused a change. "
              "Spending changed in other places too. Below, dark bars are use and striped bars are prices.",
              id="text-value-change")  # fmt: skip
    show_figure(figures_budget.plot_change(rows, groups=groups), id="fig-value-change",
                caption="Where the money went, before and after",
                alt=figures_budget.describe_change(rows, groups=groups))  # fmt: skip


def _use_words(use: Amount, price: Amount) -> str:
    sure_use, sure_price = (a.certainty() in _CLEAR for a in (use, price))
    if sure_use and sure_price:
        return "So both use and prices seem to have changed."
    if sure_use:
        way = "less" if use.value < 0 else "more"
        return f"So it seems that people used {way} help. It is not a matter of price alone."
    if sure_price:
        return "So what changed seems to be the prices. For use we cannot tell."
    return ""


# ---- what was gained for the money ----------------------------------------------------------------------


def show_gains(release: Release) -> None:
    """For everything that is valued: gained or lost, cost or saved, what one more cost, and how sure."""
    valued = release.protocol.economics.valued
    parts = ["### What was gained for the money"]
    if not valued:
        parts.append("The plan set nothing beside the money.")
    else:
        parts.append("Money is not the aim. So we set the money beside what people gain.")
        if any(plane is not None and plane.has_numbers for plane in (read_plane(release, one) for one in valued)):
            parts[-1] += " Only people for whom both are known are counted. So the money can differ from above."
    for one in valued:
        parts.append(_gain_words(release, one, service_short(release.protocol.study)))
    show_text("\n\n".join(parts), id="text-value-gains")


def _gain_words(release: Release, valued: Valued, service: str) -> str:
    head = f"**{starts_with_capital(valued.plain)}.**"
    plane = read_plane(release, valued)
    if plane is None:
        return f"{head} This was not worked out."
    if not plane.has_numbers:
        hidden = Amount(math.nan, math.nan, math.nan, "", "", "refused" if plane.reason else "absent", plane.reason)
        return f"{head} {no_number(hidden)}"
    cost, effect = plane.spread("cost"), plane.spread("effect")
    sentences = [
        f"Our best answer is {_gained(effect.value, valued)} {EACH}.",
        f"It could be {_gained(effect.lower, valued)}, or {_gained(effect.upper, valued)}.",
        *_scale_words(release, valued),
        f"The money: {_money_words(cost)}.",
        *_price_words(plane, cost, effect, service), *_out_of_hundred(plane, service),
    ]  # fmt: skip
    return f"{head} {' '.join(sentences)}"


def _scale_words(release: Release, valued: Valued) -> list[str]:
    """What a point is worth knowing beside: the ends of the scale, where the plan gives them."""
    scales = {c.scale for c in release.protocol.chosen
              if c.record == "answers" and valued.kind == "score" and c.instrument == valued.instrument}  # fmt: skip
    return [f"Answers go from {low:g} to {high:g}." for low, high in sorted(scales)]


def _money_words(cost: Amount) -> str:
    words = signed_money(cost.value)
    return "about as much as without it" if words == "no different" else f"about {words}"


def _gained(amount: float, valued: Valued) -> str:
    """`3.2 days more`, `no change`; the figures that the unit can bear."""
    step = _STEP[valued.kind]
    size = round(abs(amount) / step) * step
    if size == 0:
        return "no change"
    text = f"{size:.{1 if step == 0.1 else 2}f}".removesuffix(".0")
    one = "year in full health" if is_qaly(valued) else valued.unit
    many = one.replace("year", "years") if is_qaly(valued) else f"{one}s"
    return f"{text} {one if text == '1' else many} {'more' if amount > 0 else 'less'}"


def _price_words(plane: Plane, cost: Amount, effect: Amount, service: str) -> list[str]:
    """What one more cost or saved: only where both are clear, so that there is something to divide by."""
    one = "year in full health" if is_qaly(plane.valued) else plane.valued.unit
    sure = {"effect": effect.certainty() in _CLEAR, "cost": cost.certainty() in _CLEAR}
    if not any(sure.values()):
        return [
            f"We cannot tell if {service} changed this, or what it cost.",
            f"So no price of one {one} can be given.",
        ]
    if not sure["effect"]:
        way = "less" if cost.value < 0 else "more"
        return [f"The figures suggest that {way} was spent.",
                f"But we cannot tell if {service} changed this. So no price of one {one} can be given."]  # fmt: skip
    better = effect.value > 0
    if not sure["cost"]:
        return [f"The figures suggest a change for the {'better' if better else '**worse**'}.",
                f"But we cannot tell if it cost more or less. So no price of one {one} can be given."]  # fmt: skip
    if better and cost.value < 0:
        return [f"The figures suggest that people gained and less was spent. So one more {one} cost nothing extra."]
    if not better and cost.value > 0:
        return ["The figures suggest that more was spent and people **lost**. That is for the worse."]
    if not plane.icer.has_number:
        return [f"No price of one {one} is given here."]
    price = plain_pounds(plane.icer.value)
    if better:
        return [f"The figures suggest that people gained and more was spent. Each {one} more cost about {price}."]
    lost = "The figures suggest that less was spent, but people **lost**."
    return [lost, f"About {price} was saved for each {one} lost.", "Is that worth it? Figures cannot say."]


def _out_of_hundred(plane: Plane, service: str) -> list[str]:
    words = {"se": "cost less and did more good", "ne": "cost more and did more good",
             "sw": "cost less and did less good", "nw": "cost more and did less good"}  # fmt: skip
    shares = {q: round(_DRAWS * s) for q, s in plane.shares.items() if math.isfinite(s) and round(_DRAWS * s) > 0}
    if not shares:
        return []
    # Rounded to whole answers, they need not add up to a hundred.
    told = [f"In about {n} of them it {words[q]}." for q, n in sorted(shares.items(), key=lambda pair: -pair[1])]
    return [f"Think of {_DRAWS} answers for {service} that fit the records.", *told]
