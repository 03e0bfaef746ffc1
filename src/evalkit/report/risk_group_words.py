"""Whom a model serves worse: every gap that was looked at, how many stand out, and how many would by chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import pandas as pd

from evalkit.report import facts
from evalkit.report.phrases import listed, starts_with_capital
from evalkit.report.risk_words import MEASURES, characteristic_words
from evalkit.report.value_facts import Amount, read_amount

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_WORSE_LOW = ("sensitivity", "auroc")
_WORSE_HIGH = ("false_positive_rate",)
_WORSE_FAR_FROM_1 = ("observed_expected", "calibration_slope")
# Gaps in other measures need no unfairness: they follow how many of a group come back, or how large it is.
FAIRNESS = (*_WORSE_LOW, *_WORSE_HIGH, *_WORSE_FAR_FROM_1)
_TABLES = ("risk_groups", "risk_group_threshold")
_SAME = 1e-9  # a chance that is the limit itself is not below it
Verdict = Literal["more", "chance", "none", "unseen"]


@dataclass(frozen=True)
class Worse:
    """A level that fares worse in one measure, and the level beside which that is clearest: rows of the tables."""

    measure: str
    row: str
    beside: str


@dataclass(frozen=True)
class GroupGap:
    """One characteristic: the measures whose gap between levels is released, and those whose gap leaves out 0.

    `worse` says for whom, for each of `clear` in which two levels have a number; `levels` are rows `sex|female`.
    """

    characteristic: str
    looked: tuple[str, ...]
    clear: tuple[str, ...]
    worse: tuple[Worse, ...]
    levels: tuple[str, ...]


@dataclass(frozen=True)
class GapCount:
    """How many gaps were looked at, how many stand out, and how many have no number; `level` of the intervals."""

    looked: int
    clear: int
    hidden: int
    level: float

    @property
    def chance(self) -> float:
        """The chance of as many standing out, or more, were all levels alike and the gaps independent: binomial."""
        n, p = self.looked, 1 - self.level
        return math.fsum(math.comb(n, k) * p**k * self.level ** (n - k) for k in range(self.clear, n + 1))

    @property
    def verdict(self) -> Verdict:
        """ "more" than chance gives where that chance is below 1 - level; else what stands out may be chance."""
        if not self.looked:
            return "unseen"
        if not self.clear:
            return "none"
        return "more" if self.chance < 1 - self.level - _SAME else "chance"


def count_gaps(release: Release) -> GapCount:
    """Over every characteristic and every measure that a fair model would have alike (`FAIRNESS`)."""
    rows = release.table("risk_group_gap")
    rows = rows[rows["column"].isin(FAIRNESS)]
    seen = rows[rows["lower"].notna()]
    levels = seen["level"].dropna()
    level = float(levels.min()) if len(levels) else release.protocol.study.level
    clear = sum(_is_clear(release, row) for _, row in seen.iterrows())
    return GapCount(len(seen), clear, len(rows) - len(seen), level)


def _is_clear(release: Release, gap: pd.Series) -> bool:
    """Whether a gap's interval leaves out 0, also where that is lost to the rounding of a release: the test of the same
    draws then says it."""
    level = gap["level"] if math.isfinite(gap["level"]) else release.protocol.study.level
    p = read_amount(release, "risk_group_equality", f"{gap['row']}|{gap['column']}", "p_value")
    return bool(gap["lower"] > 0 or (p.has_number and p.value < 1 - level - _SAME))


def read_gaps(release: Release) -> list[GroupGap]:
    """Every characteristic by which the release compares groups.

    A level is named only where the gap in that measure is clear with all levels compared at once (simultaneous
    interval above 0, or the test of the same draws). A release does not say which pair is clear: it is read from the
    levels' own intervals, as the pair that is furthest apart beside them.
    """
    names = [str(row).split("|")[0] for table in (*_TABLES, "risk_group_gap") for row in release.table(table)["row"]]
    return [_read_gap(release, name) for name in dict.fromkeys(names)]


def _read_gap(release: Release, name: str) -> GroupGap:
    rows = release.table("risk_group_gap")
    rows = rows[(rows["row"] == name) & rows["column"].isin(FAIRNESS) & rows["lower"].notna()]
    found = {str(row["column"]) for _, row in rows.iterrows() if _is_clear(release, row)}
    clear = [m for m in FAIRNESS if m in found]
    levels = [str(r) for table in _TABLES for r in release.table(table)["row"] if str(r).split("|")[0] == name]
    worse = [one for m in clear if (one := _find_worse(release, tuple(dict.fromkeys(levels)), m))]
    return GroupGap(name, tuple(m for m in FAIRNESS if m in set(rows["column"])), tuple(clear), tuple(worse),
                    tuple(dict.fromkeys(levels)))  # fmt: skip


def read_level(release: Release, row: str, measure: str) -> Amount:
    """A measure of one level, from whichever table of groups has it."""
    found = [read_amount(release, table, row, measure) for table in _TABLES]
    return next((a for a in found if a.status != "absent"), found[0])


def _find_worse(release: Release, levels: tuple[str, ...], measure: str) -> Worse | None:
    numbers = {row: a for row in levels if (a := read_level(release, row, measure)).has_number}
    pairs = [sorted(pair, key=lambda row: numbers[row].value) for pair in combinations(numbers, 2)]
    if not pairs:
        return None
    low, high = max(pairs, key=lambda pair: _apart(numbers[pair[0]], numbers[pair[1]]))
    far = abs(math.log(max(numbers[high].value, 1e-9))) > abs(math.log(max(numbers[low].value, 1e-9)))
    if measure in _WORSE_LOW or (measure in _WORSE_FAR_FROM_1 and not far):
        return Worse(measure, low, high)
    return Worse(measure, high, low)


def _apart(low: Amount, high: Amount) -> float:
    """How far two levels are apart beyond the doubt of both."""
    doubt = math.hypot(high.value - high.lower, low.upper - low.value)
    return high.value - low.value - (doubt if math.isfinite(doubt) else 0.0)


# ---- for referees --------------------------------------------------------------------------------


def _alone(row: str) -> str:
    """A level whose name says nothing without its characteristic, with it; "" for others."""
    what, name = characteristic_words(row.rpartition("|")[0]), row.rpartition("|")[2].lower()
    if name in ("yes", "true", "no", "false"):
        return f"{'with' if name in ('yes', 'true') else 'without'} {what}"
    return f"{what} not recorded" if name in ("not recorded", "unknown") else ""


def level_words(row: str, label: str = "") -> str:
    """A level of a characteristic `ethnic_group|not recorded` as text; never yes or no alone."""
    named = label if label and label != row else row.rpartition("|")[2]
    return starts_with_capital((_alone(row) or named).replace("_", " "))


def group_words(row: str, label: str = "") -> str:
    """A level that stands by itself: `Ethnic group: black`, `Without dual diagnosis`."""
    if _alone(row):
        return level_words(row)
    text = level_words(row, label)
    lower = text if row.startswith(("area|", "ethnic_group|")) else text[:1].lower() + text[1:]
    return f"{starts_with_capital(characteristic_words(row.rpartition('|')[0]))}: {lower}"


def label_of(release: Release, row: str) -> str:
    for table in _TABLES:
        rows = facts.table_row(release, table, row)
        if len(rows):
            return str(rows["label"].iloc[0])
    return ""


def gap_sentence(release: Release, gap: GroupGap) -> str:
    """One characteristic for referees."""
    what = starts_with_capital(characteristic_words(gap.characteristic))
    if not gap.looked:
        return f"{what}: no gap can be given."
    if not gap.clear:
        return f"{what}: of {len(gap.looked)} looked at, no gap stands out; none is ruled out."
    for_whom = {w.measure: f" (worse for {level_words(w.row, label_of(release, w.row))}, beside "
                           f"{level_words(w.beside, label_of(release, w.beside))})" for w in gap.worse}  # fmt: skip
    told = [f"{measure_words(m)}{for_whom.get(m, '')}" for m in gap.clear]
    return f"{what}: of {len(gap.looked)} gaps looked at, {listed(told)} {'stand' if len(told) > 1 else 'stands'} out."


def measure_words(measure: str) -> str:
    """A measure within a sentence."""
    name = MEASURES.get(measure, measure)
    return name if name.isupper() else name[:1].lower() + name[1:]


def count_sentence(count: GapCount) -> str:
    """How many gaps were looked at, how many stand out, and what chance alone gives, for referees."""
    if count.verdict == "unseen":
        return "No gap between groups is released, so whether the model serves some worse is not known."
    hidden = (
        f" ({count.hidden} more {'is' if count.hidden == 1 else 'are'} withheld or not estimable)"
        if count.hidden
        else ""
    )
    alpha = 1 - count.level
    stand = f"{count.clear} {'stands' if count.clear == 1 else 'stand'} out: the interval leaves out 0"
    parts = [
        f"{count.looked} {'gap was' if count.looked == 1 else 'gaps were'} looked at{hidden}, in "
        f"{listed([measure_words(m) for m in FAIRNESS])}. {stand if count.clear else 'No gap stands out'}. Were all "
        f"levels alike, about 1 in {round(1 / alpha)} would by chance, here {alpha * count.looked:.1f}."
    ]
    if count.clear:
        so = "more stand out than chance gives" if count.verdict == "more" else "this may be chance"
        side = "below" if count.verdict == "more" else "not below"
        parts.append(
            f"As many or more would with probability {count.chance:.2g} (binomial, gaps taken as independent), {side} "
            f"{alpha:.2g}: **{so}**. Measures of the same people hang together, so that several by chance are likelier "
            "than that."
        )
    return " ".join(parts)
