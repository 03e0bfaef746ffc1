"""An onlooker who has two releases, knows what adds up in each, and may suppose that nothing shrinks.

Written apart from the gate: ranges of changes come from an integer program of its own, over all counts of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onlooker import FAR, Range, additive_sets, known_range
from scipy.optimize import Bounds, LinearConstraint, milp

from evalkit.core.result import Results
from evalkit.disclose import Policy, Release
from evalkit.disclose import policy as make_policy


@dataclass(frozen=True)
class Change:
    """A change of a count as it was, and as far as the onlooker can tell; or what a count was or is."""

    name: str
    true: int
    range: Range
    supposed: str
    of: str = "change"


def refreshed(exact: Results, rng: np.random.Generator, *, most: int, least: int = 0) -> Results:
    """The same run on data in which each leaf count grew by `least` to `most`, totals with them."""
    frame = exact.frame
    counts = frame["kind"] == "count"
    value = dict(zip(frame.loc[counts, "id"], frame.loc[counts, "value"].astype(int), strict=True))
    sets = additive_sets(exact)
    grown = {name: int(rng.integers(least, most + 1)) for name in value}
    totals = [total for total, _ in sets]
    tops = [t for t in dict.fromkeys(totals) if all(t not in parts for _, parts in sets)]
    for top in tops:
        _share_out(top, sets, grown, rng, value)
    for name in value:  # the same people in two tables
        twin = name.replace("attrition/group.", "table1/all/").removesuffix("/people")
        if name.startswith("attrition/group.") and twin in value:
            grown[twin] = grown[name]
            _share_out(twin, sets, grown, rng, value)
    new = {name: max(0, n + grown[name]) for name, n in value.items()}
    rows = []
    for row in frame.to_dict("records"):
        top, below = row["numerator"], row["denominator"]
        if row["id"] in new:
            row["value"] = new[row["id"]]
        elif row["kind"] == "percent" and top in new and new[below]:
            row["value"] = 100 * new[top] / new[below]
        elif row["kind"] == "rate" and value.get(top):
            row["value"] *= new[top] / value[top]
            row["n_events"] = new[top]
        elif np.isfinite(row["n_people"]):
            row["n_people"] += int(rng.integers(least, most + 1))
        rows.append(row)
    return Results(type(frame)(rows))


def _share_out(total: str, sets: list, grown: dict[str, int], rng: np.random.Generator, value: dict[str, int]) -> None:
    for name, parts in sets:
        if name == total:
            weights = np.array([value[p] + 1 for p in parts], dtype=float)
            shares = rng.multinomial(abs(grown[total]), weights / weights.sum()) * np.sign(grown[total])
            for part, share in zip(parts, shares, strict=True):
                grown[part] = max(int(share), -value[part])
                _share_out(part, sets, grown, rng, value)
            grown[total] = sum(grown[p] for p in parts)


def told_ranges(released: Release, names: list[str], policy: Policy, *, earlier: Release | None) -> list[Range]:
    """What each cell of a release tells by itself, to somebody who knows the rules and the earlier release."""
    rows = {r["id"]: r for r in released.results.frame.to_dict("records")}
    rulings = {s["id"]: (s["rule"], s["why"]) for s in released.manifest["suppressed"]}
    kept = set(released.manifest.get("earlier", {}).get("kept", ()))
    same = released.manifest.get("earlier", {}).get("data") == "the same"
    old = {s["id"]: (s["rule"], s["why"]) for s in earlier.manifest["suppressed"]} if earlier and same else {}
    told = []
    for name in names:
        rule, why = rulings.get(name, ("", ""))
        if old.get(name) == (rule, why):  # said again as it was said, by the rules of that time
            told.append(known_range(rows[name], rule, why, make_policy(earlier.protocol.disclosure.profile)))
            continue
        if name in kept:
            told.append(kept_range(rows[name]["value"], policy))
        elif rule == "differencing" and why.startswith("fewer than"):
            told.append(Range(policy.least, policy.threshold - 1))
        elif rule == "differencing":
            told.append(Range(0, FAR))
        else:
            told.append(known_range(rows[name], rule, why, policy))
    return told


def kept_range(shown: float, policy: Policy) -> Range:
    """Counts that would have been shown as they were: fewer than the threshold from one that is rounded to `shown`."""
    stands_for = [n for n in range(int(shown) + 10) if policy.rounded(n) == shown and not policy.too_few(n)]
    near = {
        policy.rounded(n) for m in stands_for for n in range(max(0, m - policy.threshold + 1), m + policy.threshold)
    }
    fits = [n for n in range(int(max(near)) + 10) if policy.rounded(n) in near]
    few = any(n < policy.threshold for m in stands_for for n in range(max(0, m - policy.threshold + 1), m))
    return Range(0 if few else max(min(fits), policy.threshold), max(fits))


def changes(before: Release, after: Release, exact: tuple[Results, Results], policy: Policy) -> list[Change]:
    """The feasible range of the change of every count that adds up with others, by what the onlooker supposes."""
    sets = [s for s in additive_sets(exact[0]) if s in additive_sets(exact[1])]
    value = [dict(zip(e.frame["id"], e.frame["value"], strict=True)) for e in exact]
    names = sorted({n for total, parts in sets for n in (total, *parts)})
    n, place = len(names), {name: i for i, name in enumerate(names)}
    ranges = [told_ranges(before, names, policy, earlier=None), told_ranges(after, names, policy, earlier=before)]
    sums = np.zeros((len(sets), n))
    twins = [(a, b) for a in names for b in names if a.startswith("attrition/group.")
             and b == a.replace("attrition/group.", "table1/all/").removesuffix("/people")]  # fmt: skip
    for k, (total, parts) in enumerate(sets):
        sums[k, place[total]] -= 1
        sums[k, [place[p] for p in parts]] += 1
    same = np.array([np.eye(n)[place[a]] - np.eye(n)[place[b]] for a, b in twins]).reshape(-1, n)
    sums = np.vstack([sums, same])
    both = np.block([[sums, np.zeros_like(sums)], [np.zeros_like(sums), sums]])
    steps = np.hstack([-np.eye(n), np.eye(n)])
    bounds = Bounds([r.low for rs in ranges for r in rs], [r.high for rs in ranges for r in rs])
    found = []
    for supposed in ("any change", "nothing shrinks"):
        rules = [LinearConstraint(both, 0, 0)]
        if supposed == "nothing shrinks":
            rules.append(LinearConstraint(steps, 0, np.inf))
        asked = [(name, steps[i], int(value[1][name] - value[0][name]), "change") for i, name in enumerate(names)]
        for when, of in enumerate(("before", "after")):
            asked += [(name, np.eye(2 * n)[when * n + i], int(value[when][name]), of) for i, name in enumerate(names)
                      if policy.too_few(value[when][name])]  # fmt: skip
        for name, direction, true, of in asked:
            ends = [milp(sign * direction, constraints=rules, integrality=np.ones(2 * n), bounds=bounds)
                    for sign in (1, -1)]  # fmt: skip
            if any(end.status != 0 for end in ends):
                assert supposed == "nothing shrinks", "the exact tables must be among the feasible ones"
                break
            found.append(Change(name, true, Range(round(ends[0].fun), round(-ends[1].fun)), supposed, of))
    return found


def told_too_closely(found: list[Change], policy: Policy) -> list[Change]:
    """Changes of fewer than the threshold that are known more closely than that; that there was one may be known."""
    few = policy.threshold - 1 - policy.least
    held = [c for c in found if c.of != "change" and not (c.range.low <= 1 and c.range.high >= policy.threshold - 1)]
    found = [c for c in found if c.of == "change"]
    gained = [c for c in found if 1 <= c.true <= few and not (c.range.low <= 1 and c.range.high >= few)]
    lost = [
        c
        for c in found
        if c.supposed == "any change" and -few <= c.true <= -1 and not (c.range.high >= -1 and c.range.low <= -few)
    ]
    return gained + lost + held
