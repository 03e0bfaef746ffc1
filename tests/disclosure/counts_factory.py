"""Results with the layouts of a real run and counts drawn at random, to attack."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path

import numpy as np
from scipy import stats

from evalkit.core.dates import Window
from evalkit.core.estimand import Estimand
from evalkit.core.protocol import Protocol, load_protocol
from evalkit.core.result import Cell, Check, Estimate, Results, not_estimable

PROTOCOL: Protocol = load_protocol(Path(__file__).parents[2] / "protocols" / "ipsa.toml")
PROVENANCE = {
    "evalkit_version": "0.1.0",
    "data_digest": "0" * 64,
    "tables": {"people": {"rows": 1203, "sha256": "1" * 64}, "budgets": 4},
    "code_digest": "2" * 64,
    "environment": {"python": "3.11"},
}
GROUPS = ("Lambeth", "Comparators")
_SHARES = {
    "sex": {"female": 0.46, "male": 0.52, "other": 0.01, "unknown": 0.01},
    "ethnic_group": {"white": 0.40, "black": 0.38, "asian": 0.08, "mixed": 0.06, "other": 0.05, "unknown": 0.03},
    "age": {"18 to 34": 0.3, "35 to 54": 0.45, "55 and over": 0.25},
}


def under_profile(profile: str) -> Protocol:
    content = PROTOCOL.model_dump(mode="json")
    content["disclosure"] = {"profile": profile}
    return Protocol.model_validate_json(json.dumps(content))


def make_results(seed: int) -> Results:
    """Every kind of table of a run, about 300 rows."""
    rng = np.random.default_rng(seed)
    sizes = {"Lambeth": int(rng.integers(90, 320)), "Comparators": int(rng.integers(300, 900))}
    parts = [attrition(rng, sizes), table_one(rng, sizes), readmissions(rng), curve(rng), calibration(rng), effects()]
    parts += [trend(rng, "residential_entry", 14.0), trend(rng, "rehab_admission", 30.0), costs(rng)]
    return Results.concat(parts).stamped(notebook="made_up", protocol=PROTOCOL.digest, data="0" * 64)


def attrition(rng: np.random.Generator, sizes: dict[str, int]) -> Results:
    out = {"died": int(rng.integers(0, 12)), "age": int(rng.integers(8, 60)), "elsewhere": int(rng.integers(0, 200))}
    included = sum(sizes.values())
    cells = [Cell("start", "people", included + sum(out.values()), "count", label="People in the tables")]
    cells += [Cell(f"excluded.{k}", "people", v, "count", totals=("start/people",), label=k) for k, v in out.items()]
    cells.append(Cell("included", "people", included, "count", totals=("start/people",), label="Included"))
    cells += [Cell(f"group.{g}", "people", n, "count", totals=("included/people",), label=g) for g, n in sizes.items()]
    return Results.from_cells("attrition", cells)


def table_one(rng: np.random.Generator, sizes: dict[str, int]) -> Results:
    cells = []
    for group, size in sizes.items():
        cells.append(Cell("all", group, size, "count"))
        for variable, shares in _SHARES.items():
            drawn = rng.multinomial(size, list(shares.values()))
            for level, count in zip(shares, drawn, strict=True):
                row = f"{variable}.{level}"
                cells.append(Cell(row, group, int(count), "count", totals=(f"all/{group}",)))
                cells.append(
                    Cell(row, f"{group} %", 100 * count / size, "percent", numerator=f"{row}/{group}",
                         denominator=f"all/{group}")
                )  # fmt: skip
        cells.append(Cell("age.mean", group, 43.27181, "mean", unit="years", n_people=size))
    return Results.from_cells("table1", cells)


def readmissions(rng: np.random.Generator) -> Results:
    cells = []
    for row in (f"{g}|{when}" for g in GROUPS for when in ("before", "after")):
        discharges = int(rng.integers(60, 400))
        cells.append(Cell(row, "discharges", discharges, "count"))
        counts = {"readmitted_30d": 0.09, "readmitted_90d": 0.2, "readmitted_365d": 0.4, "died_365d": 0.02}
        for column, share in counts.items():
            count = int(rng.binomial(discharges, share))
            low, high = stats.binomtest(count, discharges).proportion_ci(0.95, "wilson")
            cells.append(Cell(row, column, count, "count"))
            cells.append(
                Cell(row, f"{column}_percent", 100 * count / discharges, "percent", lower=100 * low, upper=100 * high,
                     level=0.95, numerator=f"{row}/{column}", denominator=f"{row}/discharges")
            )  # fmt: skip
    return Results.from_cells("readmission_counts", cells)


def curve(rng: np.random.Generator) -> Results:
    cells = []
    for group in GROUPS:
        people = int(rng.integers(60, 300))
        events = np.cumsum(rng.binomial(people, 0.03, size=12))
        for day, count in zip(range(0, 360, 30), events, strict=True):
            risk = count / people
            half = 1.96 * math.sqrt(risk * (1 - risk) / people)
            cells.append(
                Cell(f"{group}|before|{day}", "risk", risk, "statistic", lower=risk - half, upper=risk + half,
                     level=0.95, n_people=people, n_events=int(count))
            )  # fmt: skip
    return Results.from_cells("readmission_curve", cells)


def calibration(rng: np.random.Generator) -> Results:
    cells = []
    for decile in range(1, 11):
        people, share = int(rng.integers(45, 50)), 0.05 * decile
        count = int(rng.binomial(people, share))
        low, high = stats.binomtest(count, people).proportion_ci(0.95, "wilson")
        both = {"n_people": people, "n_events": count}
        cells.append(Cell(str(decile), "predicted", share, "statistic", **both))
        cells.append(
            Cell(str(decile), "observed", count / people, "statistic", lower=low, upper=high, level=0.95, **both)
        )
    return Results.from_cells("calibration.logistic", cells)


def rate_cell(row: str, group: str, count: int, years: float) -> list[Cell]:
    low, high = stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0, stats.chi2.ppf(0.975, 2 * count + 2) / 2
    return [
        Cell(row, f"{group} count", count, "count"),
        Cell(row, group, 100 * count / years, "rate", unit="events per 100 person-years", lower=100 * low / years,
             upper=100 * high / years, level=0.95, n_events=count, numerator=f"{row}/{group} count"),
    ]  # fmt: skip


def trend(rng: np.random.Generator, outcome: str, mean: float) -> Results:
    cells = []
    for year in range(2012, 2018):
        for group, size in (("Lambeth", 1.0), ("Comparators", 3.0)):
            cells += rate_cell(f"{year}/{year % 100 + 1}", group, int(rng.poisson(mean * size)), 210.4 * size)
    return Results.from_cells(f"trend.{outcome}", cells, outcome=outcome)


def costs(rng: np.random.Generator) -> Results:
    cells = [
        Cell(f"2015-{month:02d}", group, float(rng.normal(8000, 300)), "mean", unit="GBP",
             n_people=int(rng.integers(5, 90)))
        for month in (1, 4, 7, 10) for group in GROUPS
    ]  # fmt: skip
    return Results.from_cells("cost_trend", cells)


def estimate(value: float = 0.0123456, **changes: object) -> Estimate:
    window = Window(dt.date(2015, 4, 1), dt.date(2018, 7, 1))
    estimand = Estimand("readmission_30d", "ATO", "adults", window, "risk_difference")
    made = {"n_people": 812, "n_events": 143, "se": 0.0234567, "p_value": 0.123456} | changes
    return Estimate(estimand, made.pop("estimator", "overlap_aipw_did"), made.pop("role", "primary"), value,
                    -0.0345678, 0.0591234, 0.95, **made)  # fmt: skip


def effects() -> Results:
    checks = (
        Check("comparison_areas", True, 3.0, "Number of untreated areas; 19 or more allow an interval."),
        Check("n_people", None, 7.0, "People in the smallest cell."),
    )
    shown = estimate(checks=checks)
    none = not_estimable(shown.estimand, "x", role="sensitivity", reason="There are fewer than 10 events before.")
    return Results.from_estimates([shown, estimate(role="naive", estimator="before_after"), none])
