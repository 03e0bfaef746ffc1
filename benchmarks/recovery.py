"""How often the primary intervals hold the truth: many worlds, the analysis that the notebooks run.

    python benchmarks/recovery.py --worlds 200 --jobs 2 [--keep src/evalkit/report/data/coverage.csv]

For each estimand and estimator: bias with its Monte-Carlo error, coverage with its own, and the share of
worlds in which there was no estimate. Definitions as in Morris, White and Crowther 2019, Stat Med 38:2074.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]


def money_rows(study: object, outcome: object) -> list[dict[str, object]]:
    """Effects on cost by use, price and payer, as a share, and on days that people value, from one bootstrap."""
    from evalkit.analysis.cost_variants import build_variants
    from evalkit.analysis.costs import find_cost_effect
    from evalkit.estimators.costs.cells import compute_additive_effect

    findings = find_cost_effect(study, outcome)
    variants = {v.key: v.effect for v in build_variants(study, findings.found, findings.means, findings.effect)}
    named = {"public_cost_use": "fixed_prices", "public_cost_price": "prices_alone", "public_cost_nhs": "payer.nhs"}
    effects = {f"{name}.gbp_per_person_quarter": variants[key] for name, key in named.items()}
    effects |= {
        f"valued_{key}.days_per_person_quarter": compute_additive_effect(findings.means.pick({f"days.{key}": 1.0}))
        for key in findings.found.valued
    }
    rows = [
        {"estimand": key, "value": e.difference, "lower": e.interval(study.level)[0],
         "upper": e.interval(study.level)[1], "se": e.se, "scale": key.split(".")[1]}
        for key, e in effects.items()
    ]  # fmt: skip
    value, low, high = findings.effect.relative(study.level)
    share = {"estimand": "public_cost.relative_change", "value": value, "lower": low, "upper": high, "se": np.nan}
    return [*rows, share | {"scale": "relative_change"}]


def run_world(seed: int, *, settings: str, protocol: str) -> list[dict[str, object]]:
    """Simulate one world, analyse it, and set each estimate beside its truth."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from evalkit.analysis.balanced import estimate_balanced
    from evalkit.analysis.effects import estimate_all
    from evalkit.analysis.pathway import estimate_pathway
    from evalkit.analysis.study import open_study
    from evalkit.core.result import Results
    from evalkit.simulate import load_settings, write_world

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "world"
        write_world(load_settings(settings), folder, seed=seed)
        truth = json.loads((folder / "truth.json").read_text())
        study = open_study(protocol, folder)
        estimates = estimate_all(study)
        parts = Results.concat([*estimate_pathway(study), *estimate_balanced(study)])
        days = [
            row
            for table in ("pathway.days", "people_designs")
            for row in parts.table(table).to_dict("records")
            if not row["outcome"].startswith("placebo_")
        ]
        money = [row for outcome in study.protocol.outcomes_of("cost")[:1] for row in money_rows(study, outcome)]
    return [
        {
            "seed": seed, "estimand": e.estimand.key, "estimator": e.estimator, "role": e.role, "value": e.value,
            "lower": e.lower, "upper": e.upper, "se": e.se, "truth": truth[e.estimand.key], "scale": e.estimand.scale,
        }
        for e in estimates
    ] + [
        {
            "seed": seed, "estimand": row["row"], "estimator": row["estimator"], "role": row["role"],
            "value": row["value"], "lower": row["lower"], "upper": row["upper"], "se": row["se"],
            "truth": truth[row["row"]], "scale": "days_per_person",
        }
        for row in days
    ] + [
        {"seed": seed, "estimator": "one_bootstrap", "role": "sensitivity", "truth": truth[row["estimand"]], **row}
        for row in money
    ]  # fmt: skip


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Bias in the estimand's own unit and coverage, with Monte-Carlo errors, one row an estimator of an estimand.

    `log_bias` is the mean error of the log ratio, which for counts is not nought even without bias.
    """
    rows = rows.assign(error=rows["value"] - rows["truth"])
    rows["covered"] = (rows["lower"] <= rows["truth"]) & (rows["truth"] <= rows["upper"])
    out = []
    for (estimand, role, estimator), inside in rows.groupby(["estimand", "role", "estimator"], sort=True):
        shown = inside[np.isfinite(inside["error"].astype(float)) & inside["lower"].notna()]
        n = len(shown)
        line = {"estimand": estimand, "role": role, "estimator": estimator, "worlds": n, "refused": 1 - n / len(inside)}
        if n >= 2:
            coverage = shown["covered"].mean()
            line |= {
                "truth": shown["truth"].mean(),
                "bias": shown["error"].mean(),
                "bias_mcse": shown["error"].std() / np.sqrt(n),
                "coverage": coverage,
                "coverage_mcse": np.sqrt(coverage * (1 - coverage) / n),
                "spread": shown["error"].std(),
            }
            if shown["scale"].iloc[0] == "rate_ratio":
                line["log_bias"] = np.mean(np.log(shown["value"] / shown["truth"]))
        out.append(line)
    return pd.DataFrame(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--settings", default=str(ROOT / "data/synthetic/settings/ipsa.toml"))
    parser.add_argument("--protocol", default=str(ROOT / "protocols/ipsa.toml"))
    parser.add_argument("--out", type=Path, help="write every estimate to this Parquet file")
    parser.add_argument(
        "--keep", type=Path, help="also write the summary that the academic report shows to this CSV file"
    )
    parser.add_argument("--summarise", type=Path, nargs="+", help="only sum up files that earlier runs wrote")
    asked = parser.parse_args()
    if asked.summarise:
        rows = pd.concat([pd.read_parquet(path) for path in asked.summarise], ignore_index=True)
        report(rows)
        if asked.keep:
            keep(rows, asked.keep)
        return
    run = partial(run_world, settings=asked.settings, protocol=asked.protocol)
    seeds = range(asked.first_seed, asked.first_seed + asked.worlds)
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        rows = pd.DataFrame([row for world in pool.map(run, seeds) for row in world])
    rows = rows.assign(**made_from(Path(asked.settings), Path(asked.protocol)))
    if asked.out:
        rows.to_parquet(asked.out, index=False)
    report(rows)
    if asked.keep:
        keep(rows, asked.keep)


def made_from(settings: Path, protocol: Path) -> dict[str, str]:
    """The digests of settings, protocol and code, which stay with every estimate."""
    from evalkit.core.protocol import load_protocol
    from evalkit.pipeline.provenance import file_digest, package_digest

    return {"settings": file_digest(settings), "protocol": load_protocol(protocol).digest, "code": package_digest()}


def keep(rows: pd.DataFrame, path: Path) -> None:
    """Write the summary with what it was made from: worlds, seeds and the digests of settings, protocol and code."""
    names = ("settings", "protocol", "code")
    if not set(names) <= set(rows.columns) or any(rows[name].nunique() != 1 for name in names):
        raise SystemExit(
            "These estimates do not say that they were all made from the same settings, protocol and code."
        )
    found = summarise(rows)
    found = found[found["coverage"].notna() & found["role"].isin(["primary", "naive", "sensitivity"])]
    seeds = sorted(set(rows["seed"]))
    told = {"worlds": str(len(seeds)), "seeds": f"{seeds[0]} to {seeds[-1]}", **rows.iloc[0][list(names)]}
    head = "# How often intervals held the truth: summary of benchmarks/recovery.py, read by the academic report\n"
    head += "".join(f"# {name}: {value}\n" for name, value in told.items())
    columns = ["estimand", "role", "estimator", "worlds", "refused", "truth", "bias", "bias_mcse", "coverage",
               "coverage_mcse"]  # fmt: skip
    rounded = found[columns].round({"refused": 3, "coverage": 3, "coverage_mcse": 3})
    money = found["truth"].abs() >= 10
    for column in ("truth", "bias", "bias_mcse"):
        rounded[column] = [f"{v:.0f}" if big else f"{v:.4f}" for v, big in zip(found[column], money, strict=True)]
    path.write_text(head + rounded.to_csv(index=False), encoding="utf-8")


def report(rows: pd.DataFrame) -> None:
    """Print the summary as a table in Markdown."""
    found = summarise(rows).round(4).astype(object)
    found = found.where(found.notna(), "")
    print("| " + " | ".join(found.columns) + " |")
    print("|" + "---|" * len(found.columns))
    for line in found.itertuples(index=False):
        print("| " + " | ".join(str(cell) for cell in line) + " |")


if __name__ == "__main__":
    main()
