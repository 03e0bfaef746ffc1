"""Every attack that is tried on a release, how much it was tried on, and how many counts it gave back (it must be 0).

`attack_table()` is printed by `make report-checks`; the tests of this folder try the same at more places.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from counts_factory import PROTOCOL, PROVENANCE, attrition, make_results, rate_cell, table_one
from onlooker import (
    every_text,
    feasible_ranges,
    neighbours,
    recovered,
    subtractions,
    too_narrow,
)
from two_releases import changes, refreshed, told_too_closely

from evalkit.core.result import Results
from evalkit.disclose import Release, load_release, policy, release
from evalkit.disclose.scan import find_unreleased, scan_files

STRICT = policy("strict")
MOVES = ((0, 3), (-3, 3), (0, 25))  # by how little and how much each count changes between two releases


@dataclass(frozen=True)
class Attack:
    """One attack: what was tried, on how many numbers, how many it gave back, and how many without the rule."""

    name: str
    tried_on: int
    recovered: int
    unguarded: int | None = None


def attack_table(
    seeds: range = range(3), *, reports: tuple[Path, ...] = (), moves: tuple[tuple[int, int], ...] = MOVES
) -> tuple[Attack, ...]:
    """All attacks, on runs made up with these seeds, and on the files of output folders that have their workings."""
    exact = [make_results(seed) for seed in seeds]
    released = [let_out(one) for one in exact]
    pairs = list(zip(exact, released, strict=True))
    table = [
        _subtraction(pairs),
        _rounding(pairs),
        _swaps(),
        _texts(pairs),
        *(_two_releases(seeds, most=most, least=least) for least, most in moves),
    ]
    return (*table, *(_files(folder) for folder in reports if (folder / "workings" / "results").is_dir()))


def render_attacks(table: tuple[Attack, ...]) -> str:
    """The table in Markdown."""
    lines = ["| attack | numbers attacked | recovered | without the gate's rule |", "|---|---|---|---|"]
    for row in table:
        without = "" if row.unguarded is None else row.unguarded
        lines.append(f"| {row.name} | {row.tried_on} | {row.recovered} | {without} |")
    return "\n".join(lines) + "\n"


def let_out(results: Results, *, earlier: Release | None = None, data: str = "0" * 64) -> Release:
    exact = Results(results.frame.assign(protocol=PROTOCOL.digest))
    provenance = PROVENANCE | {"data_digest": data}
    return release(exact, policy=STRICT, protocol=PROTOCOL, provenance=provenance, earlier=earlier)


Pairs = list[tuple[Results, Release]]


def _subtraction(pairs: Pairs) -> Attack:
    found = [r for exact, released in pairs for r in subtractions(released, exact, STRICT).values()]
    return Attack("subtraction of what is shown", len(found), sum(r.width < STRICT.threshold - 1 for r in found))


def _rounding(pairs: Pairs) -> Attack:
    """Integer programs over all that adds up; beside it the same attack where small counts alone are withheld."""
    tried = told = unguarded = 0
    for exact, released in pairs:
        ranges = feasible_ranges(released, exact, STRICT)
        tried += len(ranges)
        told += len({*recovered(ranges, exact, STRICT), *too_narrow(ranges, exact, released, STRICT)})
        plain = _primary_alone(exact)
        ranges = feasible_ranges(plain, exact, STRICT)
        unguarded += len({*recovered(ranges, exact, STRICT), *too_narrow(ranges, exact, plain, STRICT)})
    return Attack("intersection of rounded counts (integer programs)", tried, told, unguarded)


def _primary_alone(exact: Results) -> Release:
    frame = exact.frame
    count = frame["kind"] == "count"
    few = count & frame["value"].map(STRICT.too_few).astype(bool)
    frame.loc[count, "value"] = frame.loc[count, "value"].map(STRICT.rounded)
    frame.loc[few, "status"] = "suppressed"
    rulings = [{"id": name, "rule": "primary", "why": "fewer than 10"} for name in frame.loc[few, "id"]]
    return SimpleNamespace(results=Results(frame), manifest={"suppressed": rulings})


def _swaps() -> Attack:
    """Each count swapped for those that the gate treats alike: whether a rate or its interval tells them apart."""

    def shown(count: int) -> object:
        return let_out(Results.from_cells("trend.x", rate_cell("2015/16", "Lambeth", count, 210.4))).results.frame

    counts = range(4, 60, 7)
    told = sum(any(not shown(other).equals(shown(n)) for other in neighbours(n, STRICT)) for n in counts)
    return Attack("a rate and its interval multiplied back", len(counts), told)


def _texts(pairs: Pairs) -> Attack:
    tried, told = 0, 0
    for exact, released in pairs:
        counts = exact.frame.loc[exact.frame["kind"] == "count", "value"]
        secret = {str(int(n)) for n in counts if n >= 100 and n % STRICT.base}
        tried += len(secret)
        told += len(secret & {word for text in every_text(released) for word in text.split()})
    return Attack("every text and id of a release read", tried, told)


def _two_releases(seeds: range, *, least: int, most: int) -> Attack:
    tried = told = unguarded = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        sizes = {"Lambeth": int(rng.integers(60, 200)), "Comparators": int(rng.integers(200, 500))}
        exact = Results.concat([attrition(rng, sizes), table_one(rng, sizes)])
        later = refreshed(exact, rng, most=most, least=least)
        before = let_out(exact)
        after = let_out(later, earlier=before, data="9" * 64)
        alone = let_out(later, data="9" * 64)
        found = changes(before, after, (exact, later), STRICT)
        tried += len(found)
        told += len(told_too_closely(found, STRICT))
        unguarded += len(told_too_closely(changes(before, alone, (exact, later), STRICT), STRICT))
    name = f"two releases, each count changed by {least} to {most} (integer programs over both)"
    return Attack(name, tried, told, unguarded)


def _files(folder: Path) -> Attack:
    parts = sorted((folder / "workings" / "results").glob("*.parquet"))
    unreleased = find_unreleased(Results.concat([Results.load(path) for path in parts]), load_release(folder))
    leaks = scan_files(folder, unreleased=unreleased)
    return Attack(f"every file of {folder.name} decoded and read", len(unreleased.counts), len(leaks))


MORE: tuple[tuple[str, str], ...] = (
    ("places, moves and days of people over time", "test_people_release.py"),
    ("money: totals by means, parts from all sums, lines of net benefit", "test_money_release.py"),
    ("risk models: cells at thresholds, levels, curves", "test_risk_attacks.py"),
    ("area designs: quarters from rates and diagnostics", "test_area_release.py"),
)
"""Attacks on single kinds of tables, and the tests that try them: each counts what it recovers and holds it at 0."""


if __name__ == "__main__":
    sys.stdout.write(render_attacks(attack_table(reports=tuple(Path(p) for p in sys.argv[1:]))))
