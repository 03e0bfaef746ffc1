"""Whether every area estimator keeps its word: size, power, coverage and bias on panels of known truth.

    python benchmarks/area_truth.py --replicates 200 --jobs 2

Panels are like IPSA's: one treated area, 3 or 30 comparators, 12 + 13 quarters, AR(1) area shocks of
coefficient 0, 0.4 or 0.8, counts (rate ratios) or Gaussian rates (mean differences), with an effect and
without. What is refused with one treated area is also tried with eight. Every estimator sees the same
panels. The truth is the parameter: the ratio of expected events, or the difference of expected rates, not what
happened to be realised. Each estimate is appended to a CSV, so a run that was stopped goes on where it was;
delete the file after a change to an estimator. Definitions: Morris, White and Crowther 2019, Stat Med 38:2074.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import math
import time
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from evalkit.cohort.panel import Panel
from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable
from evalkit.core.estimand import Estimand, Scale
from evalkit.estimators.area.registry import REGISTRY, find_estimator
from evalkit.simulate.panels import RATE_PANEL, Kind, PanelSettings, simulate_panel

ROOT = Path(__file__).resolve().parents[1]
WINDOW = Window(dt.date(2015, 4, 1), dt.date(2018, 7, 1))
SCALES: dict[Kind, Scale] = {"counts": "rate_ratio", "rates": "mean_difference"}
EFFECTS: dict[Kind, float] = {"counts": 0.7, "rates": -1.0}
RHOS = (0.0, 0.4, 0.8)
LEVEL = 0.95
FLOOR = 0.90  # an interval that holds the truth less often is to be mended or refused
FEW = 50  # a share of fewer intervals is printed with their number
BLOCK = 5  # replicates a task
# Estimators that cost more than 0.1 s a panel get this share of the replicates; the table states them.
SHARES = {"synthetic_did": 0.5}
# Refused with one treated area, so also tried with eight.
SEVERAL_TREATED = (
    "twfe_cluster", "twfe_newey_west", "twfe_driscoll_kraay", "callaway_santanna", "sun_abraham", "imputation",
)  # fmt: skip
COLUMNS = (
    "estimator", "kind", "treated", "comparators", "rho", "effect", "replicate", "truth", "value", "lower", "upper",
    "p_value", "level", "reason", "seconds",
)  # fmt: skip
KEY = list(COLUMNS[:7])


@dataclass(frozen=True)
class Scenario:
    """One kind of panel; `effect` 1 with an effect, 0 without."""

    kind: Kind
    treated: int
    comparators: int
    rho: float
    effect: int

    @property
    def cell(self) -> tuple[object, ...]:
        return self.kind, self.treated, self.comparators, self.rho, self.effect

    @property
    def settings(self) -> PanelSettings:
        start = PanelSettings() if self.kind == "counts" else RATE_PANEL
        effect = EFFECTS[self.kind] if self.effect else start.effect
        return replace(start, treated=self.treated, comparators=self.comparators, rho=self.rho, effect=effect)

    def draw(self, replicate: int) -> tuple[Panel, float]:
        """The panel of one replicate and its true effect; panels with and without effect share their shocks."""
        seed = [replicate, self.treated, self.comparators, round(10 * self.rho), int(self.kind == "rates")]
        frame, truth = simulate_panel(self.settings, rng=np.random.default_rng(seed))
        panel = Panel.from_frame(
            frame, unit="unit", period="period", outcome="outcome", adoption="adoption", denominator="person_time"
        )
        return panel, truth[SCALES[self.kind]]


SCENARIOS = tuple(
    Scenario(kind, *areas, rho, effect)
    for kind, areas, rho, effect in itertools.product(("counts", "rates"), ((1, 3), (1, 30), (8, 30)), RHOS, (1, 0))
)


def run_replicates(scenario: Scenario, wanted: dict[int, tuple[str, ...]]) -> list[tuple[object, ...]]:
    """One row of `COLUMNS` for each replicate in `wanted` and each estimator named there."""
    rows = []
    estimand = Estimand("simulated", "ATT", "areas", WINDOW, SCALES[scenario.kind])
    for replicate, names in wanted.items():
        panel, truth = scenario.draw(replicate)
        for name in names:
            rng = np.random.default_rng([replicate, zlib.crc32(name.encode())])
            begin, numbers, reason = time.process_time(), (math.nan,) * 5, ""
            try:
                found = find_estimator(name).run(panel, estimand, LEVEL, rng, "sensitivity")
                numbers = (found.value, found.lower, found.upper, found.p_value, found.level)
                reason = next((c.text for c in found.checks if c.name == "interval" and c.passed is False), "")
            except NotEstimable as refusal:
                reason = refusal.reason
            except Exception as error:
                error.add_note(f"{name}, replicate {replicate} of {scenario}")
                raise
            seconds = time.process_time() - begin
            rows.append((name, *scenario.cell, replicate, truth, *numbers, reason, seconds))
    return rows


def plan(names: list[str], replicates: int, done: set[tuple[object, ...]]) -> list[tuple[Scenario, dict]]:
    """What is left to do, in blocks of replicates, replicate by replicate so that a part is of use."""
    tasks = []
    for start in range(0, replicates, BLOCK):
        for scenario in SCENARIOS:
            able = [n for n in names if SCALES[scenario.kind] in find_estimator(n).scales]
            able = [n for n in able if scenario.treated == 1 or n in SEVERAL_TREATED]
            wanted = {
                r: left
                for r in range(start, min(start + BLOCK, replicates))
                if (
                    left := tuple(
                        n
                        for n in able
                        if r < math.ceil(replicates * SHARES.get(n, 1.0)) and (n, *scenario.cell, r) not in done
                    )
                )
            }
            if wanted:
                tasks.append((scenario, wanted))
    return tasks


def run_all(names: list[str], replicates: int, jobs: int, out: Path) -> pd.DataFrame:
    """Run what `out` does not hold yet, appending to it, and return all of it."""
    done: set[tuple[object, ...]] = set()
    if out.is_file():
        done = set(pd.read_csv(out, usecols=KEY)[KEY].itertuples(index=False, name=None))
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(",".join(COLUMNS) + "\n")
    tasks = plan(names, replicates, done)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(run_replicates, *task) for task in tasks]
        try:
            for finished, future in enumerate(as_completed(running), 1):
                pd.DataFrame(future.result(), columns=COLUMNS).to_csv(out, mode="a", header=False, index=False)
                if finished % 50 == 0:
                    print(f"{finished} of {len(tasks)} blocks", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return pd.read_csv(out)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Coverage, rejection, bias and refusals with Monte-Carlo errors, one row an estimator and scenario.

    Rejection is size without an effect and power with one. Bias is the mean of the log of estimate over
    truth for ratios, in units of the rate for differences; coverage and rejection are of the runs that
    gave an interval or a p-value.
    """
    out = []
    for key, inside in rows.groupby(KEY[:6], sort=False):
        value, truth = inside["value"].to_numpy(), inside["truth"].to_numpy()
        ratio = key[1] == "counts"
        shown = np.isfinite(value) & ((value > 0) | (not ratio))
        error = np.log(value[shown] / truth[shown]) if ratio else value[shown] - truth[shown]
        given = inside[inside["lower"].notna() & inside["upper"].notna()]
        covered = ((given["lower"] <= given["truth"]) & (given["truth"] <= given["upper"])).to_numpy()
        null = 1.0 if ratio else 0.0
        outside = ((inside["lower"] > null) | (inside["upper"] < null)).astype(float).where(inside["lower"].notna())
        rejected = (inside["p_value"] <= 1 - LEVEL + 1e-9).astype(float).where(inside["p_value"].notna(), outside)
        rejected = rejected.dropna().to_numpy()
        n = len(inside)
        out.append(
            dict(zip(KEY[:6], key, strict=True))
            | {
                "n": n,
                "no_number": 1 - np.isfinite(value).mean(),
                "intervals": len(given),
                "no_interval": 1 - len(given) / n,
                "level": given["level"].mean(),
                "coverage": covered.mean() if len(covered) else math.nan,
                "coverage_mcse": _share_error(covered),
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


def render_table(summary: pd.DataFrame, kind: Kind) -> str:
    """The Markdown table of one kind of panel, one row an estimator and number of comparators."""
    heads = (
        "estimator",
        "areas",
        "N",
        "coverage, %",
        "size, %",
        "power, %",
        "bias (error)",
        "no interval, %",
        "no number, %",
    )
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    order = {e.name: place for place, e in enumerate(REGISTRY)}
    ours = summary[summary["kind"] == kind].sort_values(
        ["estimator", "treated", "comparators"], key=lambda c: c.map(order) if c.name == "estimator" else c
    )
    for (name, treated, comparators), inside in ours.groupby(["estimator", "treated", "comparators"], sort=False):
        with_effect, without = (inside[inside["effect"] == e].sort_values("rho") for e in (1, 0))
        middle = with_effect[with_effect["rho"] == RHOS[1]]
        cells = [
            f"`{name}`",
            f"{treated} + {comparators}",
            str(int(inside["n"].min())),
            _together([_share(row, "coverage", mark=FLOOR) for row in with_effect.itertuples()]),
            _together([_share(row, "rejection") for row in without.itertuples()]),
            _together([_share(row, "rejection") for row in with_effect.itertuples()]),
            " ".join(_bias(row) for row in middle.itertuples()),
            _together([f"{100 * share:.0f}" for share in inside.groupby("rho")["no_interval"].mean()]),
            _together([f"{100 * share:.0f}" for share in inside.groupby("rho")["no_number"].mean()]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _together(cells: list[str]) -> str:
    return cells[0] if len(set(cells)) == 1 else " / ".join(cells)


def _share(row: object, name: str, mark: float = 0.0) -> str:
    value = getattr(row, name)
    if math.isnan(value):
        return "refused"
    text = f"**{100 * value:.0f}**" if value < mark else f"{100 * value:.0f}"
    return f"{text} ({row.intervals})" if row.intervals < min(FEW, row.n) else text


def _bias(row: object) -> str:
    return "none" if math.isnan(row.bias) else f"{row.bias:+.3f} ({row.bias_mcse:.3f})"


def find_failures(summary: pd.DataFrame) -> pd.DataFrame:
    """Scenarios in which an interval at 95% holds the truth less often than `FLOOR`, the surest first.

    `sure` says that chance does not explain it: `FLOOR` lies more than two Monte-Carlo errors above, the error
    being that of a share of `FLOOR`.
    """
    short = (FLOOR - summary["coverage"]) / np.sqrt(FLOOR * (1 - FLOOR) / summary["intervals"].clip(lower=1))
    return summary.assign(short=short, sure=short > 2)[summary["coverage"] < FLOOR].sort_values(
        "short", ascending=False
    )


def report(rows: pd.DataFrame) -> None:
    """Print both tables, what failed, and what each estimator costs."""
    summary = summarise(rows)
    fewest = summary["n"].min()
    print(
        "Areas are treated + comparators. All shares at area shocks of AR(1) coefficient "
        + " / ".join(f"{rho:g}" for rho in RHOS)
        + f"; bias at {RHOS[1]:g}. N panels a scenario; 'refused' where no interval or test is given; bold where "
        f"coverage is under {FLOOR:.0%}; in brackets the number of intervals where under {FEW}. Monte-Carlo error "
        f"of a share near 5% or 95%: {100 * math.sqrt(0.05 * 0.95 / fewest):.1f} points at the smallest N, of any "
        f"share at most {100 * math.sqrt(0.25 / fewest):.1f}."
    )
    for kind, head in (
        ("counts", f"Counts, rate ratio {EFFECTS['counts']:g} or none; bias of the log ratio"),
        ("rates", f"Gaussian rates, mean difference {EFFECTS['rates']:g} shock standard deviations or none"),
    ):
        print(f"\n### {head}\n\n{render_table(summary, kind)}")
    failures = find_failures(summary)
    if len(failures):
        print(f"\nUnder {FLOOR:.0%} (sure: by more than two Monte-Carlo errors):")
        for row in failures.itertuples():
            print(
                f"- {row.estimator}, {row.kind}, {row.treated} + {row.comparators} areas, rho {row.rho:g}, "
                f"{'effect' if row.effect else 'no effect'}: {row.coverage:.1%} ({row.coverage_mcse:.1%}), "
                f"{row.intervals} of {row.n} with an interval{', sure' if row.sure else ''}"
            )
    print(
        "\nSeconds of processor time a panel: "
        + ", ".join(f"{n} {s:.3f}" for n, s in rows.groupby("estimator")["seconds"].mean().items())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "area_truth.csv", help="CSV of every estimate")
    parser.add_argument("--only", nargs="+", default=[e.name for e in REGISTRY], help="names of estimators")
    parser.add_argument("--summarise", action="store_true", help="only print the tables of what the CSV holds")
    asked = parser.parse_args()
    names = [find_estimator(name).name for name in asked.only]
    report(pd.read_csv(asked.out) if asked.summarise else run_all(names, asked.replicates, asked.jobs, asked.out))


if __name__ == "__main__":
    main()
