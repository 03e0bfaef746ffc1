"""For whom a risk model works less well, for peers: what stands out, beside how much would stand out by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.report.display import show_text
from evalkit.report.phrases import full_stop, starts_with_capital
from evalkit.report.risk_group_words import (
    GapCount,
    GroupGap,
    Worse,
    count_gaps,
    label_of,
    read_gaps,
    read_level,
)
from evalkit.report.risk_words import CHARACTERISTICS, side_of
from evalkit.report.value_facts import Amount

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_PLAIN_LEVELS = {
    "ethnic_group|asian": "Asian people", "ethnic_group|black": "Black people", "ethnic_group|white": "White people",
    "ethnic_group|mixed": "people of mixed ethnic groups", "ethnic_group|other": "people of other ethnic groups",
    "sex|female": "women", "sex|male": "men", "sex|other": "people of another sex",
    "dual_diagnosis|yes": "people with a drug or alcohol problem too",
    "dual_diagnosis|no": "people without a drug or alcohol problem",
    "deprivation|most deprived fifth": "people in the poorest areas",
    "deprivation|deciles 3 to 5": "people in areas in between",
    "deprivation|deciles 6 to 10": "people in less poor areas",
}  # fmt: skip
_NOT_WRITTEN = {
    "age_band": "people whose age is not written down", "deprivation": "people whose home area is not written down",
    "dual_diagnosis": "people for whom a drug or alcohol problem is not written down, or the lack of one",
}  # fmt: skip
_PLAIN_CHARACTERISTICS = CHARACTERISTICS | {
    "deprivation": "how poor the area is that people live in", "area": "the borough that people live in",
    "dual_diagnosis": "having a drug or alcohol problem too",
}  # fmt: skip
_HIDDEN = "Some groups are not shown, so that nobody can be picked out:"
_SHORT_WORDS = 8  # a longer name of a group would make its sentence too long


def unfair_words(release: Release) -> list[str]:
    """In one sentence or two whether some are served worse; nothing where no gap stands out."""
    return {
        "more": ["It works **less well for some people** than for others."],
        "chance": ["It may work **less well for some people** than for others. Or this may be chance."],
    }.get(count_gaps(release).verdict, [])  # fmt: skip


def show_for_whom(release: Release) -> None:
    """Whom it serves worse, whom it may, and who is too few to say."""
    gaps, count = read_gaps(release), count_gaps(release)
    parts = ["### Does it work as well for everybody?"]
    if not gaps:
        parts.append("We did not look at this. So nobody should think that it is fair.")
        show_text("\n\n".join(parts), id="text-risk-groups")
        return
    parts += [" ".join(_count_words(count))] if count.looked else []
    clear = [line for gap in gaps if gap.clear for line in _worse_lines(release, gap)]
    if clear:
        parts += ["This stood out:", "\n".join(clear)]
    open_gaps = [gap for gap in gaps if gap.looked and not gap.clear]
    if open_gaps:
        parts += ["We also looked at these:" if clear else "We looked at these:",
                  _bullets([_plain_characteristic(g) for g in open_gaps]),
                  "Here the gaps could be chance. That does not show that it is fair."]  # fmt: skip
    silent = [gap for gap in gaps if not gap.looked]
    if silent:
        parts += ["For these we have no answer:", _bullets([_plain_characteristic(g) for g in silent])]
    hidden = _hidden_levels(release, gaps)
    if hidden:
        parts += [
            _HIDDEN,
            _bullets(hidden),
            "For them we do not know if it works.",
        ]
    show_text("\n\n".join(parts), id="text-risk-groups")


def _count_words(count: GapCount) -> list[str]:
    """The answer, and how many comparisons it rests on."""
    lead = {
        "more": ["**No.** It works less well for some people."],
        "chance": ["**We cannot tell.** It may work less well for some people, or this may be chance."],
        "none": ["**We cannot tell.**"],
    }[count.verdict]  # fmt: skip
    many = f"We made {count.looked} comparison{'' if count.looked == 1 else 's'}."
    usual = f"Where all groups are alike, about 1 in {round(1 / (1 - count.level))} would stand out by chance."
    found = f"Here {count.clear or 'none'} did."
    after = {"more": ["Chance alone would seldom give that many."], "chance": ["Chance alone can give that many."],
             "none": []}[count.verdict]  # fmt: skip
    return [*lead, many, usual, found, *after]


def _plain_characteristic(gap: GroupGap) -> str:
    return _PLAIN_CHARACTERISTICS.get(gap.characteristic, gap.characteristic.replace("_", " "))


def _bullets(items: list[str]) -> str:
    """One short sentence an item."""
    return "\n".join(f"- {full_stop(starts_with_capital(item))}" for item in items)


def _worse_lines(release: Release, gap: GroupGap) -> list[str]:
    """One line for each level that fares worse; where no level can be named, that there is a gap."""
    if not gap.worse:
        return [f"- It does not work alike for all. The gap goes with {_plain_characteristic(gap)}."]
    rows = dict.fromkeys(worse.row for worse in gap.worse)
    return [f"- **{starts_with_capital(plain_level(row, label_of(release, row)))}.** "
            f"{' '.join(level_line(release, w) for w in gap.worse if w.row == row)}" for row in rows]  # fmt: skip


def level_line(release: Release, worse: Worse) -> str:
    """What stands out of one level: of this measure alone, and beside the level that it is clearest of."""
    own, other = (read_level(release, row, worse.measure) for row in (worse.row, worse.beside))
    named = plain_level(worse.beside, label_of(release, worse.beside))
    beside = named if len(named.split()) <= _SHORT_WORDS else "people in another group"
    if worse.measure == "sensitivity":
        return (f"Of 100 of them who came back, it found {_of_100(own)}. "
                f"Of 100 {beside} who came back, it found {round(100 * other.value)}.")  # fmt: skip
    if worse.measure == "false_positive_rate":
        return (f"Of 100 of them who did not come back, it still pointed at {_of_100(own)}. "
                f"Of 100 {beside} who did not come back, it pointed at {round(100 * other.value)}.")  # fmt: skip
    if worse.measure == "auroc":
        return ("Take 100 pairs of them, where one came back and one did not. "
                f"It gave the right one the higher risk in {_of_100(own)}. By guessing it would be 50. "
                f"For {beside} it was {round(100 * other.value)}.")  # fmt: skip
    if worse.measure == "observed_expected":
        side = {"above": " So its risks for them are too low, and they may miss out on help.",
                "below": " So its risks for them are too high, and they may be watched without need.",
                }.get(side_of(own, 1.0), "")  # fmt: skip
        return (f"Where it said that 100 of them would come back, {_of_100(own)} did. "
                f"For {beside} it was {round(100 * other.value)}.{side}")  # fmt: skip
    high, low = ("high", "low") if own.value < 1 else ("low", "high")
    return f"For them its high risks are too {high}, and its low ones too {low}."


def _of_100(amount: Amount) -> str:
    """`38`, and its range in the same sentence."""
    text = f"{round(100 * amount.value)}"
    return f"{text} (or {round(100 * amount.lower)} to {round(100 * amount.upper)})" if amount.has_range else text


def plain_level(row: str, label: str = "") -> str:
    """A level of a characteristic as people."""
    characteristic, _, name = row.rpartition("|")
    what = _PLAIN_CHARACTERISTICS.get(characteristic, characteristic.replace("_", " "))
    if row.lower() in _PLAIN_LEVELS:
        return _PLAIN_LEVELS[row.lower()]
    if name.lower() in ("not recorded", "unknown"):
        return _NOT_WRITTEN.get(characteristic, f"people whose {what} is not written down")
    if name.lower() in ("yes", "true", "no", "false"):
        return f"people {'with' if name.lower() in ('yes', 'true') else 'without'} this: {what}"
    words = (label if label and label != row else name).replace("_", " ")
    return {"age_band": f"people aged {words}", "area": f"people in {words}"}.get(characteristic, words)


def _hidden_levels(release: Release, gaps: list[GroupGap]) -> list[str]:
    hidden = [
        plain_level(row, label_of(release, row)) for gap in gaps for row in gap.levels
        if not any(read_level(release, row, measure).has_number for measure in ("auroc", "sensitivity"))
    ]  # fmt: skip
    return list(dict.fromkeys(hidden))
