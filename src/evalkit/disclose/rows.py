"""Row by row: what is withheld because of the counts behind it, and how the rest is coarsened."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.core.errors import DisclosureError, Fault
from evalkit.disclose.check_rows import checked_by, is_count_check, is_freedom_check
from evalkit.disclose.digits import outwards, significant
from evalkit.disclose.money import coarsen_money, is_money
from evalkit.disclose.policy import Policy
from evalkit.disclose.risk import coarsen_risk, hides_counts, rule_on_risk
from evalkit.disclose.suppress import Ruling
from evalkit.disclose.texts import without_counts

RISK_COLUMNS = ("risk", "observed")
MEAN_COUNT = "mean_count"  # events a person, stepped like a risk though it may pass 1
# Decimals of means per person, whose differences may be plain means, where the other side has none. Near nought, digits
# alone would be decimals without end, and with them the sum of everybody's days.
MEAN_DECIMALS = {"days per person": 1, "events per person": 2}
SMD_UNIT = "standard deviations"
NUMBERS = ("value", "se", "lower", "upper", "level", "p_value")
WHY_LINKED = "worked out from a number that is withheld"
WHY_NO_COUNTS = "not released: the counts behind it are not given"

_EXTREMES = {"min", "max", "minimum", "maximum", "youngest", "oldest", "shortest", "longest"}
_LEAST_MASKED = 100
_BESIDE = ("complementary", "differencing")  # rules that withhold a count that is not few
_MANY_EVENTS = 100
_SMD_STEPS = (0.05, 0.1, 0.2, 0.5)
_CLASSES = (10, 25, 50)  # least numbers of events of the classes within which naive contrasts look alike
Row = dict[str, object]


def check_kinds(frame: pd.DataFrame) -> None:
    """Refuse a smallest or largest value: it belongs to one person.

    Raises
    ------
    DisclosureError
        Naming every such row.
    """
    faults = []
    described = frame[frame["kind"].isin(["statistic", "mean"])]
    for name, row, column in zip(described["id"], described["row"], described["column"], strict=True):
        if _EXTREMES & set(re.split(r"[^a-z]+", f"{row} {column}".lower())):
            faults.append(Fault(name, "a smallest or largest value belongs to one person and is never released",
                                next_step="Give a mean or a share instead."))  # fmt: skip
    if faults:
        raise DisclosureError(faults)


# ---- rulings -------------------------------------------------------------------------------------


def rule_on_rows(frame: pd.DataFrame, counts: Mapping[str, Ruling], policy: Policy) -> dict[str, Ruling]:
    """Rulings on all rows, by id: those on counts, few people or events behind a row, and links."""
    rulings = dict(counts)
    rows: list[Row] = frame[frame["status"] == "shown"].to_dict("records")
    exact = {str(r["id"]): float(r["value"]) for r in rows if r["kind"] == "count"}
    withheld = {exact[name] for name, ruling in counts.items() if ruling.rule in _BESIDE}
    linked = {str(r["id"]): [str(r[c]) for c in ("numerator", "denominator") if r[c]] for r in rows}
    for row in rows:
        name = str(row["id"])
        ruling = None if any(need in counts for need in linked[name]) else _rule_on_row(row, policy)
        ruling = ruling or _rule_on_sources(row, exact, withheld, policy)
        if ruling:
            rulings.setdefault(name, ruling)
    rulings |= rule_on_risk(frame, rulings, policy)
    saturated = {checked_by(r) for r in rows if is_freedom_check(r) and not r["value"] >= policy.least_freedom}
    for name in sorted(saturated & set(linked)):
        why = f"not released: fewer than {policy.least_freedom} residual degrees of freedom"
        rulings.setdefault(name, Ruling("primary", why))
    for row in rows:
        # What a check found of an estimate tells of the same few people.
        if row["kind"] == "check" and checked_by(row) in rulings:
            rulings.setdefault(str(row["id"]), Ruling("linked", WHY_LINKED))
    changed = True
    while changed:
        new = {n: Ruling("linked", WHY_LINKED) for n, needs in linked.items() if n not in rulings
               and any(need in rulings for need in needs)}  # fmt: skip
        rulings |= new
        changed = bool(new)
    return rulings


def _rule_on_row(row: Row, policy: Policy) -> Ruling | None:
    """Too few people or events behind the row itself."""
    few = f"not released: fewer than {policy.threshold}"
    if policy.too_few(row["n_people"]):
        return Ruling("primary", f"{few} people behind it")
    if policy.too_few(row["n_events"]) and row["kind"] != "count":
        return Ruling("primary", f"{few} events behind it")
    if is_count_check(row) and policy.too_few(row["value"]):
        return Ruling("primary", f"fewer than {policy.threshold}")
    if is_risk(row) and 0 <= row["n_people"] - row["n_events"] < policy.threshold:
        return Ruling("primary", f"{few} people without the event")
    return None


def _rule_on_sources(row: Row, exact: Mapping[str, float], withheld: set[float], policy: Policy) -> Ruling | None:
    """A number whose counts are not given, so that the gate cannot judge it, or are withheld elsewhere."""
    kind = row["kind"]
    if kind in ("mean", "estimate"):
        given = math.isfinite(row["n_people"]) or row["denominator"] in exact
        given |= kind == "estimate" and math.isfinite(row["n_events"])
        return None if given else Ruling("linked", WHY_NO_COUNTS)
    if kind not in ("rate", "percent") and (not is_risk(row) or _starts_curve(row)):
        return None
    on_top = row["numerator"] in exact or math.isfinite(row["n_events"])
    below = kind != "statistic" or math.isfinite(row["n_people"])
    if row["numerator"] and row["numerator"] not in exact:
        on_top = False
    if not (on_top and below):
        return Ruling("linked", WHY_NO_COUNTS)
    if kind == "percent" and row["denominator"] not in exact:
        top, whole = _share(row, exact)
        if 0 <= whole - top < policy.threshold:
            return Ruling("primary", f"not released: fewer than {policy.threshold} outside it")
    own = {row["n_people"], row["n_events"]} if not row["numerator"] else set()
    return Ruling("linked", WHY_LINKED) if own & withheld else None


def is_risk(row: Row) -> bool:
    """Whether a statistic is a share of people, so that times the people it would give the events."""
    if row["kind"] != "statistic" or row["column"] == MEAN_COUNT or row["unit"] == SMD_UNIT:
        return False
    if not 0 <= row["value"] <= 1 or str(row["table"]).startswith("risk_"):  # the latter have rules of their own
        return False
    if row["column"] in RISK_COLUMNS:
        return True
    return bool(abs(row["value"] * row["n_people"] - row["n_events"]) < 0.5)


def _starts_curve(row: Row) -> bool:
    """Whether this is the first step of a risk curve, which is 0 whoever is followed."""
    return row["value"] == 0 and row["column"] == "risk" and str(row["row"]).split("|")[-1] == "0"


# ---- numbers -------------------------------------------------------------------------------------


def coarsen(frame: pd.DataFrame, rulings: Mapping[str, Ruling], policy: Policy) -> pd.DataFrame:
    """The table as it may be shown: withheld rows without numbers, the others rounded by `policy`."""
    rows: list[Row] = frame.to_dict("records")
    exact = {str(r["id"]): float(r["value"]) for r in rows if r["kind"] == "count" and r["status"] == "shown"}
    secret = {exact[n] for n, ruling in rulings.items() if n in exact and ruling.rule in _BESIDE}
    masks, own = _masks(frame, policy), coarsen_risk(frame, policy)
    done = []
    for row in rows:
        name = str(row["id"])
        if name in rulings:
            new = _withheld(row, rulings[name])
        elif row["status"] != "shown":
            new = row | dict.fromkeys(NUMBERS, math.nan)
        else:
            new = row | (own.get(name) or _numbers(row, exact, policy))
            new["level"] = significant(row["level"], 4)
        new["reason"] = without_counts(str(new["reason"]), masks.get(str(row["table"]), ()))
        for column in ("n_people", "n_events"):
            hide = policy.too_few(new[column]) or row[column] in secret or hides_counts(new)
            hide |= column == "n_events" and (_hides_events(row) or row["column"] in (MEAN_COUNT, "risk"))
            new[column] = math.nan if hide else policy.rounded(new[column])
        done.append(new)
    return pd.DataFrame(done, columns=list(frame.columns))


def _withheld(row: Row, ruling: Ruling) -> Row:
    new = row | dict.fromkeys(NUMBERS, math.nan) | {"status": "suppressed", "reason": ruling.why}
    if ruling.rule != "primary" or row["kind"] == "count":
        new |= {"n_people": math.nan, "n_events": math.nan}
    return new


def _masks(frame: pd.DataFrame, policy: Policy) -> dict[str, set[int]]:
    """For each table the exact counts that its sentences must not tell; those of a table bind its checks."""
    found: dict[str, set[int]] = {}
    for table, rows in frame.groupby("table"):
        numbers = pd.concat([rows.loc[rows["kind"] == "count", "value"], rows["n_people"], rows["n_events"]])
        numbers = numbers[np.isfinite(numbers) & (numbers >= _LEAST_MASKED)]
        found[str(table)] = {int(n) for n in numbers if float(n).is_integer() and n % policy.base}
    for table in list(found):
        found[table] |= found.get(table.removeprefix("checks."), set())
    return found


def _numbers(row: Row, exact: Mapping[str, float], policy: Policy) -> Row:
    """The numbers of a row that is shown, coarsened as its kind asks."""
    match row["kind"]:
        case "count":
            return _count(row, policy)
        case "percent":
            return _percent(row, exact, policy)
        case "rate":
            return _rate(row, exact, policy)
        case "statistic" if _starts_curve(row):
            return dict.fromkeys(NUMBERS, math.nan) | {"value": 0.0, "lower": 0.0, "upper": 0.0}
        case "statistic" if row["column"] == MEAN_COUNT:
            return _risk(row, policy, most=math.inf)
        case "statistic" if row["unit"] == "%" and math.isfinite(row["n_people"]):
            return _share_without_people(row, policy)
        case "statistic" if row["unit"] == SMD_UNIT:
            return _smd(row, policy)
        case "statistic" if is_risk(row):
            return _risk(row, policy)
        case "check" if is_count_check(row):
            return _count(row, policy)
        case "check" if str(row["column"]).startswith("largest_weight"):
            # Turned over, it is the number of people where all weigh alike.
            return dict.fromkeys(NUMBERS, math.nan) | {"value": round(float(row["value"]), 2)}
        case "check" if str(row["column"]).startswith("events_per_"):
            return _digits(row, 2, policy)  # times the covariates it may be a count
        case "mean" | "estimate" | "statistic" if is_money(row):
            return coarsen_money(row, policy)
        case "mean":
            return _decimals(_digits(row, policy.descriptive_digits, policy), row)
        case "estimate" if row["role"] == "naive":
            return _naive(row, policy)
        case "estimate" if row["unit"] == "ratio" and row["n_events"] < 10 * _MANY_EVENTS:
            return _ratio(row, policy)
        case "estimate" if row["unit"] in MEAN_DECIMALS:
            shown = _digits(row, policy.descriptive_digits, policy)
            return _decimals(shown, row) | {"se": significant(row["se"], 2)}
        case "statistic" if math.isfinite(row["n_events"]):
            # Ratios of few events are nearly arithmetic on them: the fewer there are, the fewer digits.
            fewer = (row["n_events"] < _MANY_EVENTS) + (row["n_events"] < 10 * _MANY_EVENTS)
            return _digits(row, policy.estimate_digits - fewer, policy)
        case _:
            return _digits(row, policy.estimate_digits, policy)


def _count(row: Row, policy: Policy) -> Row:
    return dict.fromkeys(NUMBERS, math.nan) | {"value": policy.rounded(row["value"])}


def _share(row: Row, exact: Mapping[str, float]) -> tuple[float, float]:
    """Exact numerator and denominator of a percentage; a denominator that is not given follows from its value."""
    top = exact.get(str(row["numerator"]), float(row["n_events"]))
    whole = exact.get(str(row["denominator"]), float(row["n_people"]))
    if not math.isfinite(whole) and row["value"] > 0:
        whole = 100 * top / float(row["value"])
    return top, whole


def _percent(row: Row, exact: Mapping[str, float], policy: Policy) -> Row:
    """Worked out anew from the rounded counts, with Wilson's interval where one was given."""
    top, whole = _share(row, exact)
    given = str(row["denominator"]) in exact or math.isfinite(row["n_people"])
    shown_top, shown_whole = policy.rounded(top), policy.rounded(whole) if given else whole
    if not (shown_whole > 0 and math.isfinite(shown_top) and math.isfinite(row["value"])):
        return dict.fromkeys(NUMBERS, math.nan) | {"value": 0.0 if top == 0 else math.nan}
    scale = 1 if abs(row["value"] - top / whole) < abs(row["value"] - 100 * top / whole) else 100
    share = min(shown_top / shown_whole, 1.0)
    decimals = policy.percent_decimals + (2 if scale == 1 else 0)
    new: Row = dict.fromkeys(NUMBERS, math.nan) | {"value": round(scale * share, decimals)}
    if given and math.isfinite(row["lower"]):
        ends = stats.binomtest(round(share * shown_whole), round(shown_whole)).proportion_ci(_level(row), "wilson")
        new |= {"lower": round(scale * ends.low, decimals), "upper": round(scale * ends.high, decimals)}
    return new


def _rate(row: Row, exact: Mapping[str, float], policy: Policy) -> Row:
    """Scaled to the rounded count, with the exact Poisson interval of that count where one was given.

    The interval handed in would tell the exact count: its ends over its middle depend on nothing else.
    """
    top = exact.get(str(row["numerator"]), row["n_events"])
    shown = policy.rounded(top)
    below = exact.get(str(row["denominator"]), 1.0)
    change = below / policy.rounded(below) if str(row["denominator"]) in exact else 1.0
    value = row["value"] * change * (shown / top if top > 0 else 1.0)
    digits = policy.descriptive_digits
    new: Row = dict.fromkeys(NUMBERS, math.nan) | {"value": significant(value, digits)}
    if math.isfinite(row["lower"]) and shown > 0:
        tail = (1 - _level(row)) / 2
        low, high = stats.chi2.ppf(tail, 2 * shown) / 2, stats.chi2.ppf(1 - tail, 2 * shown + 2) / 2
        new |= {"lower": significant(value * low / shown, digits), "upper": significant(value * high / shown, digits)}
    return new


def _risk(row: Row, policy: Policy, *, most: float = 1.0) -> Row:
    """A share of people (or events a person), in whole multiples of the rounding base over the rounded people."""
    people = policy.rounded(row["n_people"])
    unit = (6 if policy.steps == "midpoint6" else policy.base) / people
    value = min(float(policy.step(row["value"] * row["n_people"])) / people, most)
    moved = value - row["value"]
    # Ends go outwards to the same steps, so that they do not tell where within its step the value was.
    low, high = math.nan, math.nan
    if math.isfinite(row["lower"]) and math.isfinite(row["upper"]):
        low = max(math.floor((row["lower"] + moved) / unit + 1e-9) * unit, 0.0)
        high = min(math.ceil((row["upper"] + moved) / unit - 1e-9) * unit, most)
    shown = {"value": value, "lower": low, "upper": high}
    return dict.fromkeys(NUMBERS, math.nan) | {k: significant(v, policy.estimate_digits) for k, v in shown.items()}


def recompute(row: Row, exact: Mapping[str, float], values: Mapping[str, float], people: float, policy: Policy) -> Row:
    """A percentage, rate or risk worked out from counts as they are shown; of other rows, nothing.

    `exact` and `values` hold counts by id, as they are and as they are shown, `people` those behind the row, as shown.
    """
    top, below = str(row["numerator"]), str(row["denominator"])
    if row["kind"] == "percent":
        return _percent(row | {"n_people": people}, values, policy)
    if row["kind"] == "rate" and exact.get(top, 0) > 0 and top in values:
        scale = values[top] / exact[top] * (exact[below] / values[below] if below in values else 1.0)
        return _rate(row | {"value": scale * row["value"]}, values, policy)
    if (is_risk(row) or row["column"] == MEAN_COUNT) and math.isfinite(people) and people > 0:
        value = float(policy.step(row["value"] * row["n_people"])) / people
        ends = {c: row[c] + value - row["value"] for c in ("lower", "upper")}
        most = 1.0 if row["column"] != MEAN_COUNT else math.inf
        return _risk(row | ends | {"value": value, "n_people": people}, policy, most=most)
    return {}


def _naive(row: Row, policy: Policy) -> Row:
    """A ratio or difference of plain counts: from few events, with less precision.

    The width of its interval is known arithmetic on two counts, and with the middle would give both.
    So the interval is widened to what the fewest events of a wide class would have had, and the
    number of events is not shown (`_hides_events`).
    """
    if not _hides_events(row):
        return _decimals(_digits(row, policy.descriptive_digits, policy), row)
    digits = policy.descriptive_digits - 1
    fewest = max((n for n in _CLASSES if n <= row["n_events"]), default=policy.threshold)
    widen = math.sqrt(row["n_events"] / fewest)
    value = significant(row["value"], digits)
    if row["unit"] == "ratio" and row["value"] > 0 and row["lower"] > 0:
        # A half-width to one decimal: finer ones would tell the ratio of the counts apart from the person-time.
        below, above = (math.ceil(widen * abs(math.log(row[end] / row["value"])) * 10 - 1e-9) / 10
                        for end in ("lower", "upper"))  # fmt: skip
        lower, upper = value * math.exp(-below), value * math.exp(above)
    else:
        lower = value + widen * (row["lower"] - row["value"])
        upper = value + widen * (row["upper"] - row["value"])
    shown = {"value": value, "lower": outwards(lower, -1, digits), "upper": outwards(upper, 1, digits)}
    return dict.fromkeys(NUMBERS, math.nan) | _decimals(shown, row, fewer=1)


def _decimals(shown: Row, row: Row, *, fewer: int = 0) -> Row:
    """Numbers per person with no more decimals than `MEAN_DECIMALS`, less `fewer`; others as they are."""
    if row["unit"] not in MEAN_DECIMALS:
        return shown
    decimals = MEAN_DECIMALS[str(row["unit"])] - fewer
    return shown | {c: round(float(shown[c]), decimals) + 0.0 for c in ("value", "lower", "upper")}


def _share_without_people(row: Row, policy: Policy) -> Row:
    """A share in per cent that counts nobody (a counterfactual), in the steps of one that does.

    Where nothing changed elsewhere it is the share of those who are there, and finer digits would tell their number.
    """
    unit = 100 * policy.base / max(policy.rounded(row["n_people"]), policy.base)
    shown = {c: round(math.floor(row[c] / unit + 0.5) * unit, 1) + 0.0 if math.isfinite(row[c]) else math.nan
             for c in ("value", "lower", "upper")}  # fmt: skip
    return dict.fromkeys(NUMBERS, math.nan) | shown


def _smd(row: Row, policy: Policy) -> Row:
    """A standardised difference; before weighting in steps, since it is arithmetic on the numbers of people.

    One person of n moves it by about 1 / sqrt(n a), a being those who have the characteristic: a step hides `base`.
    """
    if row["column"] != "unweighted":
        return dict.fromkeys(NUMBERS, math.nan) | {"value": round(row["value"], 3)}
    numbers = [max(policy.rounded(row[c]), policy.threshold) for c in ("n_people", "n_events")]
    least = policy.base / math.sqrt(math.prod(numbers)) if math.isfinite(row["n_people"] + row["n_events"]) else 0.0
    step = next((s for s in _SMD_STEPS if s >= least - 1e-9), _SMD_STEPS[-1])
    return dict.fromkeys(NUMBERS, math.nan) | {"value": round(math.floor(row["value"] / step + 0.5) * step, 2)}


def _ratio(row: Row, policy: Policy) -> Row:
    """A ratio of few events to two decimals (two digits below 0.1), without its error.

    At four digits a ratio, its interval and those of other designs would be so many equations in few counts.
    """
    shown = {c: round(row[c], 2) if abs(row[c]) >= 0.1 else significant(row[c], 2) for c in ("value", "lower", "upper")}
    return dict.fromkeys(NUMBERS, math.nan) | shown | {"p_value": round(float(row["p_value"]), policy.p_decimals)}


def _hides_events(row: Row) -> bool:
    """Whether a row is a naive contrast of few events, whose number would help to solve for both counts."""
    return row["kind"] == "estimate" and row["role"] == "naive" and bool(row["n_events"] < _MANY_EVENTS)


def _digits(row: Row, digits: int, policy: Policy) -> Row:
    new = {column: significant(row[column], digits) for column in ("value", "se", "lower", "upper")}
    p_value = float(row["p_value"])
    return new | {"p_value": round(p_value, policy.p_decimals)}


def _level(row: Row) -> float:
    return float(row["level"]) if math.isfinite(row["level"]) else 0.95
