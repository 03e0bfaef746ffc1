"""Whether measures of risk models keep their word: bias and coverage on discharges whose risk is known.

    python benchmarks/risk_truth.py --replicates 400 --jobs 2 --only right "wrong:net benefit" --people 500

Worlds are those of `simulate.risk_worlds`: the model is right, or too extreme; one discharge a person or several that
agree; groups it does not fit; models developed on 100 to 1,000 readmissions, with a penalty and without; recalibration;
missing values; death competing under censoring. Truth comes from known risks: of the stated model in the population,
or, for a model that was just developed or updated, of that very model. Beside the estimators run those that are known
to fail (repeats taken for other people). Each estimate is appended to a CSV, so that a run that was stopped goes on
where it was; delete the file after a change to an estimator. As `person_truth.py`, whose machinery it shares.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd
from person_truth import CELL, KEY, ROOT, choose, plan, run_all, run_replicates
from risk_truth_worlds import SIZES, WORLDS

FLOOR = 0.93
# Where the model is right these are at their border: the truth is 0, the estimates lie above it. Shown, not counted.
BORDER = ("ici", "e50", "e90", "emax")


def run_risk_replicates(*task: object) -> list[tuple]:
    """As `run_replicates`, on the worlds of risk; a function of its own, so that other processes find it by name."""
    return run_replicates(*task, worlds=WORLDS)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Bias, coverage, width (the median) and refusals with Monte-Carlo errors, one row a cell."""
    out = []
    for key, inside in rows.groupby(CELL, sort=False):
        error = (inside["value"] - inside["truth"]).dropna().to_numpy()
        given = inside[inside["lower"].notna() & inside["upper"].notna() & inside["truth"].notna()]
        covered = ((given["lower"] <= given["truth"]) & (given["truth"] <= given["upper"])).to_numpy()
        share, many = (covered.mean() if len(given) else math.nan), max(len(given), 1)
        out.append(
            dict(zip(CELL, key, strict=True))
            | {
                "n": len(inside),
                "intervals": len(given),
                "truth": inside["truth"].mean(),
                "bias": error.mean() if len(error) else math.nan,
                "bias_mcse": error.std(ddof=1) / math.sqrt(len(error)) if len(error) > 1 else math.nan,
                "coverage": share,
                "coverage_mcse": math.sqrt(share * (1 - share) / many),
                "width": (given["upper"] - given["lower"]).median() if len(given) else math.nan,
                "refused": 1 - len(error) / len(inside),
            }
        )
    return pd.DataFrame(out)


def render_table(summary: pd.DataFrame) -> str:
    """One Markdown table: a row a world, estimator and quantity; cells by number of people."""
    heads = ("world", "estimator", "of", "truth", "bias (error)", "coverage, % (error)", "width", "refused, %")
    lines = ["| " + " | ".join(heads) + " |", "|---|---|---|" + "---:|" * (len(heads) - 3)]
    for world in WORLDS.values():
        for entrant in world.entrants:
            for measure in entrant.measures:
                found = summary.loc[
                    (summary["world"] == world.name)
                    & (summary["entrant"] == entrant.name)
                    & (summary["measure"] == measure)
                ].sort_values("people")
                if len(found):
                    rows = list(found.itertuples())
                    name = f"{entrant.name}{' (known to fail)' if entrant.fails else ''}"
                    columns = [[f"{_round(r.truth):.3g}" for r in rows],
                               [_with_error(r.bias, r.bias_mcse) for r in rows],
                               [_share(r) for r in rows], [_number(r.width) for r in rows],
                               [f"{100 * r.refused:.0f}" for r in rows]]  # fmt: skip
                    cells = [world.name, name, measure.replace("|", " at "), *map(_together, columns)]
                    lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def find_failures(summary: pd.DataFrame) -> pd.DataFrame:
    """Cells whose coverage lies under 95% by more than three of its Monte-Carlo errors, and under `FLOOR`."""
    known = {(w.name, e.name) for w in WORLDS.values() for e in w.entrants if e.fails}
    house = summary[[key not in known for key in zip(summary["world"], summary["entrant"], strict=True)]]
    house = house[~house["measure"].isin(BORDER) | (house["truth"] > 0.001)]
    return house[[_is_short(row) for row in house.itertuples()]].sort_values("coverage")


def _is_short(row: object) -> bool:
    """Whether coverage is under `FLOOR` and chance does not explain it."""
    error = math.sqrt(0.95 * 0.05 / max(row.intervals, 1))
    return row.coverage < min(FLOOR, 0.95 - 3 * error)


def report(rows: pd.DataFrame) -> None:
    """Print the table, what failed, and what each estimator costs."""
    summary = summarise(rows)
    sizes = "; ".join(f"{name}: {' / '.join(map(str, SIZES[name]))}" for name in WORLDS)
    print(
        f"Cells by number of people ({sizes}). {int(summary['n'].max())} replicates a cell "
        f"({int(summary['n'].min())} at least); in brackets Monte-Carlo errors; bold where a coverage is under "
        f"{FLOOR:.0%} and three of its errors under 95%. Width is the median of the intervals'.\n"
    )
    print(render_table(summary))
    failures = find_failures(summary)
    print(f"\n{len(failures)} cells cover less than they say by more than three errors of a coverage of 95%:")
    for r in failures.itertuples():
        print(f"- {r.world}, {r.entrant}, {r.measure}, {r.people} people: {_share(r)}, bias "
              f"{_with_error(r.bias, r.bias_mcse)}, {r.intervals} of {r.n} with an interval")  # fmt: skip
    cost = (
        rows.groupby(["world", "entrant"])["seconds"].sum() / rows.groupby(["world", "entrant"])["replicate"].nunique()
    )
    print("\nSeconds of processor time a replicate, all sizes: "
          + ", ".join(f"{w} {e} {s:.2f}" for (w, e), s in cost.items()))  # fmt: skip


def _together(cells: list[str]) -> str:
    return cells[0] if len(set(cells)) == 1 else " / ".join(cell or "none" for cell in cells)


def _round(truth: float) -> float:
    """Nought where only rounding keeps it from being that."""
    return 0.0 if abs(truth) < 1e-12 else truth


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _with_error(value: float, error: float) -> str:
    return "" if math.isnan(value) else f"{value:+.2g} ({error:.1g})"


def _share(row: object) -> str:
    if not row.intervals:
        return ""
    text = f"{100 * row.coverage:.1f} ({100 * row.coverage_mcse:.1f})"
    return f"**{text}**" if _is_short(row) else text


def main() -> None:
    """The command: run what is left to do, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--people", type=int, nargs="+", help="sizes of the worlds instead of each one's own")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "risk_truth.csv", help="CSV of every estimate")
    parser.add_argument("--only", nargs="+", default=[], help="names of worlds, of estimators, or world:estimator")
    parser.add_argument("--summarise", action="store_true", help="only print the table of what the CSV holds")
    asked = parser.parse_args()
    chosen = choose(asked.only, WORLDS)
    if asked.summarise:
        rows = pd.read_csv(asked.out)
    else:
        done: set[tuple] = set()
        if asked.out.is_file():
            done = set(pd.read_csv(asked.out, usecols=KEY)[KEY].itertuples(index=False, name=None))
        tasks = [
            task
            for world in WORLDS.values()
            for task in plan([world], asked.people or list(SIZES[world.name]), asked.replicates,
                             {e for w, e in chosen if w == world.name}, done)
        ]  # fmt: skip
        tasks.sort(key=lambda task: min(task[3]))  # the first replicates of every cell first
        rows = run_all(tasks, asked.jobs, asked.out, run_risk_replicates)
    keep = [pair in chosen for pair in zip(rows["world"], rows["entrant"], strict=True)]
    report(rows[np.array(keep, dtype=bool)])


if __name__ == "__main__":
    main()
