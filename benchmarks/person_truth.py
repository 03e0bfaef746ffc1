"""Whether every person-level estimator keeps its word: size, power, coverage and bias on people of known truth.

    python benchmarks/person_truth.py --replicates 400 --people 200 600 --jobs 2 --only recurrence trial

Worlds are those of `simulate.person_*`: confounding by indication, hidden traits, recurrent admissions with frailty and
deaths that depend on it, competing deaths, pathways, delayed starts; with 200 and 600 people (the real size), with an
effect and without. Beside the estimators run competitors that are known to fail, so that the worlds are seen to be
able to tell. All see the same people. Truth is that of the population people are drawn from. Each estimate is appended
to a CSV, so that a run that was stopped goes on where it was; delete the file after a change to an estimator.
Definitions: Morris, White and Crowther 2019, Stat Med 38:2074.
"""

from __future__ import annotations

import argparse
import math
import os
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from person_truth_types import NOTHING, Entrant, Found, World
from person_truth_worlds import WORLDS

from evalkit.core.errors import EvalkitError

ROOT = Path(__file__).resolve().parents[1]
LEVEL = 0.95
FLOOR = 0.90  # an interval that holds the truth less often is to be mended or refused
FEW = 50  # a share of fewer intervals is printed with their number
ONE_SIDE = "comparison"  # measures of one side alone have no effect to be tested
BLOCK = 10  # replicates a task
COLUMNS = (
    "world", "entrant", "measure", "people", "effect", "replicate", "truth", "value", "lower", "upper", "p_value",
    "reason", "seconds",
)  # fmt: skip
KEY = list(COLUMNS[:6])
CELL = KEY[:5]
Task = tuple[str, int, int, dict[int, tuple[str, ...]]]  # world, people, effect, entrants by replicate


def run_replicates(
    world_name: str, people: int, effect: int, wanted: dict[int, tuple[str, ...]],
    worlds: Mapping[str, World] = WORLDS,
) -> list[tuple]:  # fmt: skip
    """One row of `COLUMNS` for each replicate in `wanted`, each entrant named there and each of its measures."""
    world = worlds[world_name]
    entrants = {e.name: e for e in world.entrants}
    rows = []
    for replicate, names in wanted.items():
        # The effect is no part of the seed: people with and without it share their chances as far as they can.
        data, truth = world.draw(
            people, effect, np.random.default_rng([replicate, people, zlib.crc32(world_name.encode())])
        )
        for name in names:
            begin = time.process_time()
            data["rng"] = np.random.default_rng([replicate, zlib.crc32(name.encode())])
            found, reason = _run(entrants[name], data)
            seconds = time.process_time() - begin
            rows += [
                (world_name, name, measure, people, effect, replicate, truth[key], got.value, got.lower, got.upper,
                 got.p_value, reason or got.reason, seconds / len(entrants[name].measures))
                for measure, key in entrants[name].measures.items()
                for got in (found.get(measure, NOTHING),)
            ]  # fmt: skip
    return rows


def _run(entrant: Entrant, data: dict) -> tuple[dict[str, Found], str]:
    try:
        return entrant.run(data), ""
    except EvalkitError as refusal:
        return {}, refusal.faults[0].text
    except Exception as error:
        error.add_note(f"estimator {entrant.name}")
        raise


def plan(worlds: list[World], sizes: list[int], replicates: int, entrants: set[str], done: set[tuple]) -> list[Task]:
    """What is left to do, in blocks of replicates, replicate by replicate so that a part is of use."""
    tasks: list[Task] = []
    for start in range(0, replicates, BLOCK):
        for world in worlds:
            for people in sizes:
                for effect in world.effects:
                    wanted = {
                        r: left
                        for r in range(start, min(start + BLOCK, replicates))
                        if (
                            left := tuple(
                                e.name
                                for e in world.entrants
                                if e.name in entrants
                                and r < math.ceil(replicates * e.share)
                                and (world.name, e.name, next(iter(e.measures)), people, effect, r) not in done
                            )
                        )
                    }
                    if wanted:
                        tasks.append((world.name, people, effect, wanted))
    return tasks


def run_all(
    tasks: list[Task], jobs: int, out: Path, run: Callable[..., list[tuple]] = run_replicates
) -> pd.DataFrame:  # fmt: skip
    """Run the tasks, appending to `out`, and return all that it holds."""
    if not out.is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(",".join(COLUMNS) + "\n")
    # One thread a process: more would stand in each other's way.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(run, *task) for task in tasks]
        try:
            for finished, future in enumerate(as_completed(running), 1):
                pd.DataFrame(future.result(), columns=COLUMNS).to_csv(out, mode="a", header=False, index=False)
                if finished % 50 == 0:
                    print(f"{finished} of {len(tasks)} blocks", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return pd.read_csv(out)


def is_ratio(measure: str) -> bool:
    return "ratio" in measure


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Coverage, rejection, bias, width and refusals with Monte-Carlo errors, one row a cell.

    Rejection is size without an effect and power with one: by the p-value, else by an interval that leaves out no
    effect. Bias is the mean of the log of estimate over truth for ratios, and of the difference otherwise; width is
    of the log interval for ratios. Shares are of the runs that gave an interval or a p-value.
    """
    out = []
    for key, inside in rows.groupby(CELL, sort=False):
        ratio = is_ratio(key[2])
        value, truth = inside["value"].to_numpy(), inside["truth"].to_numpy()
        shown = np.isfinite(value) & ((value > 0) | (not ratio))
        error = np.log(value[shown] / truth[shown]) if ratio else value[shown] - truth[shown]
        given = inside[inside["lower"].notna() & inside["upper"].notna()]
        lower, upper = given["lower"].to_numpy(), given["upper"].to_numpy()
        covered = (lower <= given["truth"]) & (given["truth"] <= upper)
        width = np.log(upper / np.maximum(lower, 1e-12)) if ratio else upper - lower
        null = 1.0 if ratio else 0.0
        outside = ((inside["lower"] > null) | (inside["upper"] < null)).astype(float).where(inside["lower"].notna())
        rejected = (inside["p_value"] <= 1 - LEVEL + 1e-9).astype(float).where(inside["p_value"].notna(), outside)
        rejected = rejected.dropna().to_numpy()
        out.append(
            dict(zip(CELL, key, strict=True))
            | {
                "n": len(inside),
                "intervals": len(given),
                "refused": 1 - max(len(given), len(rejected)) / len(inside),
                "coverage": covered.mean() if len(given) else math.nan,
                "coverage_mcse": _share_error(covered.to_numpy()),
                "width": np.median(width) if len(width) else math.nan,
                "rejection": rejected.mean() if len(rejected) else math.nan,
                "rejection_mcse": _share_error(rejected),
                "bias": error.mean() if len(error) else math.nan,
                "bias_mcse": error.std(ddof=1) / math.sqrt(len(error)) if len(error) > 1 else math.nan,
                "seconds": inside["seconds"].mean(),
            }
        )
    return pd.DataFrame(out)


def _share_error(flags: np.ndarray) -> float:
    share = flags.mean() if len(flags) else math.nan
    return math.sqrt(share * (1 - share) / len(flags)) if len(flags) else math.nan


def render_table(summary: pd.DataFrame, world: World, floor: float = FLOOR) -> str:
    """The Markdown table of one world: one row an entrant and measure, cells by number of people."""
    heads = ("estimator", "of", "coverage, %", "size, %", "power, %", "bias (error)", "width", "refused, %")
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    ours = summary[summary["world"] == world.name]
    for entrant in world.entrants:
        for measure in entrant.measures:
            inside = ours[(ours["entrant"] == entrant.name) & (ours["measure"] == measure)].sort_values("people")
            if not len(inside):
                continue
            real, none = (list(inside[inside["effect"] == e].itertuples()) for e in (1, 0))
            mark = 0.0 if entrant.fails else floor
            cells = [
                f"{entrant.name}{' (known to fail)' if entrant.fails else ''}", measure,
                _together([_share(r, "coverage", mark) for r in real]),
                _together([_share(r, "rejection") for r in none]), _together([_share(r, "rejection") for r in real]),
                _together([_bias(r) for r in real]), _together([f"{r.width:.3g}" for r in real]),
                _together([f"{100 * share:.0f}" for share in inside.groupby("people")["refused"].mean()]),
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _together(cells: list[str]) -> str:
    return cells[0] if len(set(cells)) == 1 else " / ".join(cells)


def _share(row: object, name: str, mark: float = 0.0) -> str:
    one_sided = name == "rejection" and row.measure.startswith(ONE_SIDE)
    value = math.nan if one_sided else getattr(row, name)
    if math.isnan(value):
        return "none"
    text = f"**{100 * value:.0f}**" if value < mark else f"{100 * value:.0f}"
    return f"{text} ({row.intervals})" if 0 < row.intervals < min(FEW, row.n) else text


def _bias(row: object) -> str:
    return "none" if math.isnan(row.bias) else f"{row.bias:+.3g} ({row.bias_mcse:.2g})"


def find_failures(summary: pd.DataFrame, worlds: list[World], floor: float = FLOOR) -> pd.DataFrame:
    """Cells of estimators that are not known to fail whose coverage is under `floor`, the surest first.

    `sure` says that chance does not explain it: `floor` lies more than two Monte-Carlo errors above, the error being
    that of a share of `floor`.
    """
    known = {(w.name, e.name) for w in worlds for e in w.entrants if e.fails}
    house = summary[[(w, e) not in known for w, e in zip(summary["world"], summary["entrant"], strict=True)]]
    short = (floor - house["coverage"]) / np.sqrt(floor * (1 - floor) / house["intervals"].clip(lower=1))
    found = house.assign(short=short, sure=short > 2)
    return found[found["coverage"] < floor].sort_values("short", ascending=False)


def report(rows: pd.DataFrame, worlds: list[World], floor: float = FLOOR) -> None:
    """Print a table a world, what failed, and what each estimator costs."""
    summary = summarise(rows)
    sizes = " / ".join(str(n) for n in sorted(summary["people"].unique()))
    fewest = int(summary["n"].min())
    print(
        f"All cells at {sizes} people; coverage, bias and width (the median) with an effect, of logarithms for ratios. "
        f"{int(summary['n'].max())} replicates a cell ({fewest} at least); bold where an "
        f"estimator covers under {floor:.0%}; in brackets the number of intervals where under {FEW}. Monte-Carlo error "
        f"of a share near 5% or 95%: {100 * math.sqrt(0.05 * 0.95 / fewest):.1f} points at the smallest number, of any "
        f"share at most {100 * math.sqrt(0.25 / fewest):.1f}."
    )
    for world in worlds:
        if (summary["world"] == world.name).any():
            print(f"\n### {world.title}\n\n{render_table(summary, world, floor)}")
    failures = find_failures(summary, worlds, floor)
    if len(failures):
        print(f"\nUnder {floor:.0%} (sure: by more than two Monte-Carlo errors):")
        for row in failures.itertuples():
            print(
                f"- {row.world}, {row.entrant}, {row.measure}, {row.people} people, "
                f"{'effect' if row.effect else 'no effect'}: {row.coverage:.1%} ({row.coverage_mcse:.1%}), bias "
                f"{_bias(row)}, {row.intervals} of {row.n} with an interval{', sure' if row.sure else ''}"
            )
    cost = rows.groupby(["world", "entrant"])["seconds"].mean()
    print("\nSeconds of processor time a measure: " + ", ".join(f"{w} {e} {s:.3f}" for (w, e), s in cost.items()))


def main(
    description: str, registry: Mapping[str, World], *, out: Path, run: Callable[..., list[tuple]], floor: float
) -> None:  # fmt: skip
    """The command: run what is left to do on the worlds of `registry` by `run`, and print the tables."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--people", type=int, nargs="+", default=[200, 600], help="sizes of the worlds")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=out, help="CSV of every estimate")
    parser.add_argument("--only", nargs="+", default=[], help="names of worlds, of estimators, or world:estimator")
    parser.add_argument("--summarise", action="store_true", help="only print the tables of what the CSV holds")
    asked = parser.parse_args()
    chosen = choose(asked.only, registry)
    worlds = [w for w in registry.values() if any(world == w.name for world, _ in chosen)]
    if asked.summarise:
        rows = pd.read_csv(asked.out)
    else:
        done: set[tuple] = set()
        if asked.out.is_file():
            done = set(pd.read_csv(asked.out, usecols=KEY)[KEY].itertuples(index=False, name=None))
        tasks = [
            task
            for world in worlds
            for task in plan([world], asked.people, asked.replicates, {e for w, e in chosen if w == world.name}, done)
        ]
        tasks.sort(key=lambda task: min(task[3]))  # the first replicates of every cell first
        rows = run_all(tasks, asked.jobs, asked.out, run)
    keep = [pair in chosen for pair in zip(rows["world"], rows["entrant"], strict=True)]
    report(rows[np.array(keep, dtype=bool)], worlds, floor)


def choose(only: list[str], registry: Mapping[str, World]) -> set[tuple[str, str]]:
    """Pairs of world and entrant that `only` names; all of them without it."""
    pairs = {(w.name, e.name) for w in registry.values() for e in w.entrants}
    if not only:
        return pairs
    known = {n for pair in pairs for n in (*pair, ":".join(pair))}
    strange = sorted(set(only) - known)
    if strange:
        raise SystemExit(f"There is no {', '.join(strange)}. Worlds: {', '.join(registry)}.")
    return {(w, e) for w, e in pairs if {w, e, f"{w}:{e}"} & set(only)}


if __name__ == "__main__":
    main(__doc__, WORLDS, out=ROOT / "build" / "person_truth.csv", run=run_replicates, floor=FLOOR)
