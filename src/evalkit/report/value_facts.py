"""Money in a release as both reports read it: one number with its range, and what each variant is called."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from evalkit.core.economics import Economics, Valued
from evalkit.core.outcomes import CostOutcome
from evalkit.core.protocol import Claim
from evalkit.report import facts
from evalkit.report.claims import Relation
from evalkit.report.phrases import full_stop, money, starts_with_capital
from evalkit.report.plain import plain_reason, plain_resource
from evalkit.report.words import Certainty, Told, certainty_of

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

GBP = "GBP per person-quarter"
MILLION = 1e6
NORMAL_95 = 1.959963984540054
VariantGroup = Literal[
    "As planned", "Price basis", "Payer", "Kind of service", "Sensitivity", "Price", "Financial year"
]
_GROUPS: tuple[tuple[str, VariantGroup], ...] = (
    ("all", "As planned"),
    ("fixed_prices", "Price basis"), ("prices_alone", "Price basis"), ("payer.", "Payer"), ("public_sector", "Payer"),
    ("part.", "Kind of service"), ("prices.", "Price"), ("year.", "Financial year"),
)  # fmt: skip
_VARIANTS = {
    "all": "Everything, as planned",
    "fixed_prices": "At fixed prices: use alone", "prices_alone": "Prices alone", "payer.nhs": "NHS",
    "payer.local_authority": "Council", "public_sector": "NHS, council and what others pay",
    "without_programme": "Without the programme's cost", "discounted": "Discounted",
    "stayed": "People who stayed, weighted for those who moved away",
}  # fmt: skip
PAYERS = {"nhs": "NHS", "local_authority": "Council"}
PERSPECTIVES = {
    "nhs": "the NHS", "local_authority": "the council", "nhs_and_local_authority": "the NHS and the council",
    "public_sector": "the NHS, the council and what other public bodies pay for housing",
}  # fmt: skip
PERSISTENCE = {"holds": "The effect holds", "fades": "The effect fades", "stops": "The effect stops"}


@dataclass(frozen=True)
class Amount(Told):
    """One released number with its range; NaN where there is none.

    `status` is that of the results glossary, or `absent` where the release has no such row; `reason` then is empty.
    """

    value: float
    lower: float
    upper: float
    unit: str
    label: str
    status: str
    reason: str

    def certainty(self, *, weak: bool = True) -> Certainty:
        """The rung of the ladder for a difference from nought; what is absent cannot be told.

        Nothing read this way was planned as a primary estimate, so that `weak` caps it unless said otherwise.
        """
        return certainty_of(self.value, self.lower, self.upper, null=0.0, ratio=False, role="exploratory",
                            status=self.status, weak=weak)  # fmt: skip

    def turned(self) -> Amount:
        """The same as a saving: the sign the other way round."""
        return Amount(-self.value, -self.upper, -self.lower, self.unit, self.label, self.status, self.reason)


ABSENT = Amount(math.nan, math.nan, math.nan, "", "", "absent", "")


def read_amount(release: Release, table: str, row: str, column: str) -> Amount:
    """One cell of a release; `ABSENT` where there is none."""
    found = facts.cell(release, table, row, column)
    if found is None:
        return ABSENT
    return Amount(float(found["value"]), float(found["lower"]), float(found["upper"]), str(found["unit"]),
                  str(found["label"]), str(found["status"]), str(found["reason"]))  # fmt: skip


def no_number(amount: Amount) -> str:
    """Why a number is missing, for everybody."""
    if amount.status == "suppressed":
        return "This is not released. Too few people are behind it."
    return f"We could not work this out. {full_stop(plain_reason(amount.reason))}" if amount.reason else (
        "We could not work this out.")  # fmt: skip


def has_numbers(release: Release, table: str) -> bool:
    """Whether any number of a table is released."""
    rows = release.table(table)
    return bool((rows["value"].notna() | rows["lower"].notna()).any())


def reasons_of(release: Release, table: str) -> list[str]:
    """Why numbers of a table are missing, each reason once."""
    rows = release.table(table)
    return [str(r) for r in dict.fromkeys(rows.loc[rows["value"].isna(), "reason"]) if r]


def cost_outcome(release: Release) -> CostOutcome | None:
    """The first cost outcome of the protocol, which the economic evaluation values."""
    return next(iter(release.protocol.outcomes_of("cost")), None)


def slug(key: str) -> str:
    """A key as part of an id: lower case letters, figures and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")


# ---- variants of the cost -------------------------------------------------------------------------


def variant_group(row: str) -> VariantGroup:
    return next((group for start, group in _GROUPS if row.startswith(start)), "Sensitivity")


def variant_words(row: str, label: str, economics: Economics | None) -> str:
    """A variant in words: its own label where the analysis gave one."""
    if label and label != row:
        return label
    if row in _VARIANTS:
        return _VARIANTS[row]
    if row.startswith("year."):
        return year_words(row.removeprefix("year."))
    if row.startswith("part."):
        return plain_resource(row.removeprefix("part."))
    if row.startswith("prices.") and row.endswith((".low", ".high")):
        what, end = row.removeprefix("prices.").rsplit(".", 1)
        change = f" by {100 * economics.price_change:.0f}%" if economics else ""
        which = "All prices" if what == "all" else f"Prices of {plain_resource(what).lower()}"
        return f"{which} {'down' if end == 'low' else 'up'}{change}"
    return starts_with_capital(row.replace("_", " ").replace(".", " "))


def tornado(release: Release) -> pd.DataFrame:
    """Rows of `tornado` with `label` in words."""
    rows = release.table("tornado")
    words = [str(r.label) if r.label != r.row else _changed_words(str(r.row)) for r in rows.itertuples()]
    return rows.assign(label=words)


def _changed_words(row: str) -> str:
    if row.startswith("part."):
        return f"Prices: {plain_resource(row.removeprefix('part.')).lower()}"
    return starts_with_capital(row.replace("_", " ").replace(".", ": "))


def year_words(year: str) -> str:
    """`2015/16` from `2015`; what is named already stays."""
    if re.fullmatch(r"\d{4}", year):
        return f"{year}/{(int(year) + 1) % 100:02d}"
    return "All years" if year == "all" else year


def variants(release: Release) -> pd.DataFrame:
    """Rows of `cost_variants`, one a number, with `label` in words and `group`."""
    rows = release.table("cost_variants")
    economics = release.protocol.economics
    words = [variant_words(str(r.row), str(r.label), economics) for r in rows.itertuples()]
    return rows.assign(label=words, group=[variant_group(str(r)) for r in rows["row"]])


# ---- money in words -------------------------------------------------------------------------------


def pounds(value: float) -> str:
    """`£2.81m` from a million, else whole pounds; a minus sign before it."""
    if not math.isfinite(value):
        return "not available"
    text = f"£{abs(value) / MILLION:.2f}m" if abs(value) >= MILLION else money(value)
    return f"−{text}" if value < 0 and text != "£0" else text


def pounds_range(amount: Amount) -> str:
    """`£0.80m (−£0.20m to £1.80m)`, all in one unit; without an interval the number alone."""
    if not amount.has_range:
        return pounds(amount.value)
    ends = (amount.value, amount.lower, amount.upper)
    if max(map(abs, ends)) < MILLION:
        told = [pounds(x) for x in ends]
    else:
        told = [f"{'−' if x < 0 else ''}£{abs(x) / MILLION:.2f}m" for x in ends]
    return f"{told[0]} ({told[1]} to {told[2]})"


def plain_pounds(value: float) -> str:
    """The size of an amount as everybody says it: `£2.8 million`, `£640`."""
    size = abs(value)
    return f"£{size / MILLION:.1f} million" if size >= MILLION else money(size)


def percent(share: float) -> str:
    """A share as per cent: `15.7%`, `−6.7%`."""
    text = f"{100 * share:.1f}%".replace("-", "−") if math.isfinite(share) else "not available"
    return text.removeprefix("−") if text == "−0.0%" else text


def percent_range(amount: Amount) -> str:
    return _with_ends(amount, percent)


def change_range(amount: Amount) -> str:
    """A relative change with its sign, and its ends: `+12.8% (+3.0% to +22.7%)`."""
    return _with_ends(amount, lambda x: f"+{percent(x)}" if x >= 0.0005 else percent(x))


def _with_ends(amount: Amount, words: Callable[[float], str]) -> str:
    if not amount.has_range:
        return words(amount.value)
    return f"{words(amount.value)} ({words(amount.lower)} to {words(amount.upper)})"


# ---- what is valued -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plane:
    """One line of `cea_plane`: incremental cost (GBP) and effect a person and quarter, with their joint spread.

    `shares` (0 to 1) by quadrant: `se` cheaper and better, `ne`, `sw`, `nw`.
    """

    valued: Valued
    cost: Amount
    effect: Amount
    mean_cost: float
    mean_effect: float
    sd_cost: float
    sd_effect: float
    correlation: float
    shares: Mapping[str, float]
    icer: Amount
    inb: Amount
    reason: str

    @property
    def has_numbers(self) -> bool:
        return all(map(math.isfinite, (self.mean_cost, self.mean_effect, self.sd_cost, self.sd_effect)))

    @property
    def threshold_gbp(self) -> float:
        """Half the largest threshold: where the value of information is told."""
        return self.valued.max_threshold_gbp / 2

    def spread(self, what: Literal["cost", "effect"]) -> Amount:
        """Mean with its range: as released, or else normal at 95% from the standard deviation."""
        released = self.cost if what == "cost" else self.effect
        if released.has_range:
            return released
        mean, sd = (self.mean_cost, self.sd_cost) if what == "cost" else (self.mean_effect, self.sd_effect)
        status = "shown" if math.isfinite(mean) else "refused"
        return Amount(mean, mean - NORMAL_95 * sd, mean + NORMAL_95 * sd, "", what, status, self.reason)


def read_plane(release: Release, valued: Valued) -> Plane | None:
    """The plane of one valued effect; None where the release has no row for it."""
    rows = facts.table_row(release, "cea_plane", valued.key)
    if rows.empty:
        return None
    cells = {str(r.column): float(r.value) for r in rows.itertuples()}
    why = [str(r.reason) for r in rows.itertuples() if r.reason and not math.isfinite(r.value) and r.column != "icer"]
    numbers = [cells.get(c, math.nan) for c in ("mean_cost", "mean_effect", "sd_cost", "sd_effect", "correlation")]
    return Plane(
        valued, read_amount(release, "cea_plane", valued.key, "mean_cost"),
        read_amount(release, "cea_plane", valued.key, "mean_effect"), *numbers,
        {q: cells.get(f"share_{q}", math.nan) for q in ("se", "ne", "sw", "nw")},
        read_amount(release, "cea_plane", valued.key, "icer"), read_amount(release, "cea_plane", valued.key, "inb"),
        next(iter(why), ""),
    )  # fmt: skip


def unit_words(valued: Valued, count: float) -> str:
    """`day`, `days`; a QALY where a mapping is given."""
    unit = "QALY" if is_qaly(valued) else valued.unit
    return unit if abs(count) == 1 else f"{unit}s"


def is_qaly(valued: Valued) -> bool:
    return valued.kind == "score" and valued.is_qaly


# ---- the claim on the budget ----------------------------------------------------------------------


def budget_claim(release: Release) -> Claim | None:
    """The first claim of a share saved on the budget: a fall in a cost outcome."""
    costs = {o.key for o in release.protocol.outcomes_of("cost")}
    return next((c for c in release.protocol.claims
                 if c.outcome in costs and c.relative_change is not None and c.relative_change < 0), None)  # fmt: skip


def claim_row(release: Release, claim: Claim | None) -> str:
    """The row of `budget` that a claim is about: the years from its own on, or all of them."""
    own = f"from_year_{claim.from_year}" if claim is not None else ""
    return own if own in set(release.table("budget")["row"]) else "all"


def budget_relation(claim: Claim, estimated: Amount) -> Relation:
    """Whether the share that was claimed lies in the interval of the share that is estimated."""
    if not (estimated.has_number and estimated.has_range):
        return "cannot"
    return "inside" if estimated.lower <= -float(claim.relative_change or 0.0) <= estimated.upper else "outside"
