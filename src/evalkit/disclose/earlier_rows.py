"""Rows beside an earlier release: which are shown as they were, which stay withheld, which are told anew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from evalkit.disclose.check_rows import checked_by, is_count_check
from evalkit.disclose.earlier import WHY_DIFFERENCING, Past, Row, Told, keeps, reach_of_few
from evalkit.disclose.policy import Policy
from evalkit.disclose.rows import MEAN_COUNT, NUMBERS, coarsen, is_risk, recompute
from evalkit.disclose.suppress import Ruling

_COUNTS = ("n_people", "n_events")
Numbers = dict[str, object]


@dataclass(frozen=True)
class Beside:
    """Rows told beside an earlier release: the table as it may be shown, the rulings, and what was kept, by id."""

    frame: pd.DataFrame
    rulings: Mapping[str, Ruling]
    kept: tuple[str, ...]


def tell_beside(frame: pd.DataFrame, rulings: Mapping[str, Ruling], told: Mapping[str, Told], past: Past,
                policy: Policy) -> Beside:  # fmt: skip
    """Every row of exact results as it may be shown beside an earlier release.

    `rulings` are those that would hold without it, on counts also those of `suppress_counts` with it.
    """
    kept = _kept_rows(frame, rulings, told, past, policy)
    now = {name: ruling for name, ruling in rulings.items() if name not in kept or told.get(name)}
    kept = [name for name in kept if name not in now]
    now |= _still_withheld(frame, now, set(kept), past, policy)
    shown = coarsen(frame, now, policy)
    return Beside(_with_old_numbers(frame, shown, set(kept), told, past, policy), now, tuple(sorted(kept)))


def restore_kept(frame: pd.DataFrame, beside: Beside) -> pd.DataFrame:
    """The table with the kept rows as they were, where something was worked out anew since."""
    kept = set(beside.kept)
    before = {str(r["id"]): r for r in beside.frame.to_dict("records")}
    rows = [before[str(r["id"])] if r["id"] in kept else r for r in frame.to_dict("records")]
    return pd.DataFrame(rows, columns=list(frame.columns))


# ---- which rows ----------------------------------------------------------------------------------


def _kept_rows(frame: pd.DataFrame, rulings: Mapping[str, Ruling], told: Mapping[str, Told], past: Past,
               policy: Policy) -> list[str]:  # fmt: skip
    """Rows that show again what they showed: all that is behind them moved by too few to be told."""
    counts = {name for name, found in told.items() if found.fate == "kept" and name not in rulings}
    if past.same:
        return sorted(counts)
    rows = frame[frame["status"] == "shown"].to_dict("records")
    quiet = past.same_question and _is_quiet(rows, counts, past)
    kept = set(counts)
    for row in rows:
        name = str(row["id"])
        old = past.rows.get(name)
        if row["kind"] == "count" or old is None or old["status"] != "shown" or old["kind"] != row["kind"]:
            continue
        # Few behind a row withhold it; where its counts are kept, that they have become few must not be told either.
        if name in rulings and rulings[name].rule != "primary":
            continue
        if _is_kept(row, old, counts, past, policy, quiet=quiet):
            kept.add(name)
    for row in rows:
        if row["kind"] == "check" and checked_by(row) in past.rows and _was_shown(past, str(row["id"])):
            same = checked_by(row) in kept
            (kept.add if same else kept.discard)(str(row["id"]))
    return sorted(kept)


def _is_quiet(rows: list[Row], counts: set[str], past: Past) -> bool:
    """Whether no count of both releases moved by enough to be told."""
    both = {str(r["id"]) for r in rows if r["kind"] == "count" and _was_shown(past, str(r["id"]))}
    return both <= counts


def _was_shown(past: Past, name: str) -> bool:
    return name in past.rows and past.rows[name]["status"] == "shown"


def _is_kept(row: Row, old: Row, counts: set[str], past: Past, policy: Policy, *, quiet: bool) -> bool:
    behind = [str(row[c]) in counts for c in ("numerator", "denominator") if row[c] and _was_shown(past, str(row[c]))]
    sizes = {c: _size_kept(row, old, c, past, policy) for c in _COUNTS}
    still = behind + [found for found in sizes.values() if found is not None]
    if is_count_check(row):
        return keeps(float(row["value"]), float(old["value"]), past.policy, policy)
    if not still:
        return quiet
    # Arithmetic on counts follows them. What else rests on the same people may still be about other years of theirs.
    on_counts = bool(behind) or sizes["n_events"] is not None
    return all(still) and (on_counts or past.same_question)


def _size_kept(row: Row, old: Row, column: str, past: Past, policy: Policy) -> bool | None:
    """Whether the people or events behind a row are those that were shown, as far as may be told; None: not given."""
    before, now = float(old[column]), float(row[column])
    if column == "n_events" and (is_risk(row) or row["column"] == MEAN_COUNT):
        before, now = float(old["value"]) * float(old["n_people"]), float(row["value"]) * float(row["n_people"])
        before = policy.rounded(before)
    if not (math.isfinite(before) and math.isfinite(now)):
        return None
    return keeps(now, before, past.policy, policy)


def _still_withheld(frame: pd.DataFrame, rulings: Mapping[str, Ruling], kept: set[str], past: Past,
                    policy: Policy) -> dict[str, Ruling]:  # fmt: skip
    """Rows withheld before: for good with the same data; else until what is behind them grew by more than a few."""
    rows = {str(r["id"]): r for r in frame[frame["status"] == "shown"].to_dict("records")}
    top = reach_of_few(past.policy, policy, high=past.policy.threshold - 1)
    new = {}
    for name, (rule, why) in past.withheld.items():
        row = rows.get(name)
        if row is None or row["kind"] == "count" or (name in rulings and not past.same):
            continue
        if past.same:
            new[name] = Ruling(rule, why)
        elif rule in ("primary", "differencing"):
            sizes = [float(row[c]) for c in _COUNTS if math.isfinite(row[c])]
            sizes += [float(row["value"])] if is_count_check(row) else []
            sizes += [row["n_people"] - row["n_events"]] if is_risk(row) else []
            if not sizes or min(sizes) <= top:
                new[name] = Ruling("differencing", WHY_DIFFERENCING)
    gone = set(rulings) | set(new)
    for name, row in rows.items():  # what rests on a row that stays withheld
        needs = [str(row[c]) for c in ("numerator", "denominator") if row[c]]
        if row["kind"] == "check":
            needs.append(checked_by(row))
        if name not in gone and name not in kept and any(need in new for need in needs):
            new[name] = Ruling("differencing", WHY_DIFFERENCING)
    return new


# ---- numbers -------------------------------------------------------------------------------------


def _with_old_numbers(frame: pd.DataFrame, shown: pd.DataFrame, kept: set[str], told: Mapping[str, Told], past: Past,
                      policy: Policy) -> pd.DataFrame:  # fmt: skip
    exact = {str(r["id"]): r for r in frame.to_dict("records")}
    again = {float(exact[n]["value"]): told[n].shown for n in sorted(kept) if n in told}
    done, values = [], {}
    for row in shown.to_dict("records"):
        name = str(row["id"])
        old = past.rows.get(name)
        if name in kept and old is not None:
            row |= {c: old[c] for c in (*NUMBERS, *_COUNTS, "reason", "unit")}
        elif not past.same:
            row |= {c: _size_shown(exact[name], row, old, c, again, past, policy) for c in _COUNTS}
        if row["kind"] == "count" and row["status"] == "shown":
            values[name] = float(row["value"])
        done.append(row)
    if not past.same:
        numbers = {name: float(row["value"]) for name, row in exact.items() if row["kind"] == "count"}
        done = [row if row["id"] in kept else row | _anew(exact[str(row["id"])], row, numbers, values, kept, policy)
                for row in done]  # fmt: skip
    return pd.DataFrame(done, columns=list(shown.columns))


def _size_shown(row: Row, new: Row, old: Row | None, column: str, again: Mapping[float, float], past: Past,
                policy: Policy) -> float:  # fmt: skip
    """People or events as a row that is not kept may tell them."""
    now = float(row[column])
    if old is not None and keeps(now, float(old[column]), past.policy, policy):
        return float(old[column])
    if not math.isfinite(new[column]):
        return math.nan
    was_hidden = old is not None and math.isfinite(now) and not math.isfinite(old[column])
    if was_hidden and now <= reach_of_few(past.policy, policy, high=past.policy.threshold - 1):
        return math.nan
    return again.get(now, float(new[column]))


def _anew(row: Row, new: Row, exact: Mapping[str, float], values: Mapping[str, float], kept: set[str],
          policy: Policy) -> Numbers:  # fmt: skip
    """Percentages, rates and risks of which one count is kept and another is not, from the counts as they are shown."""
    if new["status"] != "shown":
        return {}
    ids = [str(row[c]) for c in ("numerator", "denominator") if row[c]]
    people = float(new["n_people"])
    people_kept = math.isfinite(people) and people != policy.rounded(float(row["n_people"]))
    if not people_kept and not kept & set(ids):
        return {}
    return recompute(row, exact, values, people, policy)
