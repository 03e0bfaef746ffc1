"""Made-up results with every table of the default study, put through the real gate, to test the reports on.

Every number is invented. `make_release` builds them in four worlds, whole or with tables left out.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np

from evalkit.core.protocol import Protocol, load_protocol
from evalkit.core.result import Cell, Check, Estimate, Results, not_estimable
from evalkit.disclose import Release, policy, release

World = Literal["benefit", "none", "harm", "thin"]
ROOT = Path(__file__).parents[1]
GROUPS = ("Lambeth", "Comparators")
# Effects on the log scale or as a difference; harm turns the sign round, none makes it nil, thin widens the range.
_SIZE = {"benefit": 1.0, "none": 0.04, "harm": -1.0, "thin": 0.6}
_WIDTH = {"benefit": 1.0, "none": 1.0, "harm": 1.0, "thin": 4.0}


PROVENANCE = {
    "evalkit_version": "0.1.0", "data_digest": "0" * 64, "code_digest": "1" * 64, "environment": {"python": "3.11"},
    "tables": {"people": 1200},
}  # fmt: skip


def make_release(world: World = "benefit", *, drop: tuple[str, ...] = (), protocol: Protocol | None = None) -> Release:
    """The sample in one world; tables whose name starts with one of `drop` are left out."""
    protocol = protocol or load_protocol(ROOT / "protocols" / "ipsa.toml")
    parts = [Results.from_estimates(estimates(protocol, world))]
    parts += [_attrition(), _table_one(), _data_tables(), _readmission(world), _curve(world), _balance(), _recurrence()]
    for outcome in protocol.outcomes_of("rate"):
        parts += [_trend(outcome.key, world), _event_study(outcome.key, world), _placebo(outcome.key, protocol, world)]
        if outcome.role == "primary" or outcome.displaced_to:
            parts += [_designs(protocol, outcome, world), _honest(outcome.key), _displacement(outcome, world)]
    parts += [_costs(world), _cost_parts(), _cost_relative(world), *_risk()]
    frame = Results.concat(parts).stamped(notebook="sample", protocol=protocol.digest, data="0" * 64).frame
    kept = frame[[not str(t).startswith(drop) for t in frame["table"]]] if drop else frame
    return release(Results(kept), policy=policy(protocol.disclosure.profile), protocol=protocol, provenance=PROVENANCE)


def estimates(protocol: Protocol, world: World) -> list[Estimate]:
    out = []
    for place, outcome in enumerate(protocol.outcomes):
        estimand = protocol.estimand(outcome)
        role = outcome.role
        if outcome.key == "out_of_area_rehab":
            out.append(not_estimable(estimand, outcome.estimator, role=role,
                                     reason="areas: too few for an honest interval. Got 4"))  # fmt: skip
            continue
        value, half = _effect(outcome.kind, place, world)
        checks = (
            Check("parallel_trends", place != 3, 0.31, "The two trends differ by less than chance would"
                  if place != 3 else "Before the start the trends already differed"),
            Check("number_of_areas", None, 30, "30 areas stand behind the permutation test"),
        )  # fmt: skip
        out.append(_estimate(estimand, outcome.estimator, role, value, half, world, checks))
        out.append(_estimate(estimand, "before_after", "naive", _naive(outcome.kind, value), half * 0.7, world, ()))
    return out


def _designs(protocol: Protocol, outcome, world: World) -> Results:
    estimand, (value, half) = protocol.estimand(outcome), _effect("rate", 4, world)
    gate = 'errors="cluster": a cluster-robust error is far too small with so few treated clusters'
    found = [
        _estimate(estimand, outcome.estimator, outcome.role, value, half, world, ()),
        _estimate(estimand, "synthetic_control", "sensitivity", value * 0.8, half * 2, world, ()),
        not_estimable(estimand, "twfe_cluster", role="sensitivity", reason=gate, label="Two-way fixed effects"),
    ]
    return Results.from_estimates(found, table=f"designs.{outcome.key}")


def _honest(key: str) -> Results:
    """Bounds that break down at M = 0.3 for days on rehabilitation wards, at 1.4 for the others."""
    shared = {"kind": "statistic", "unit": "ratio", "n_events": 240}
    cells = [Cell("original", "relative_magnitude", 0.6, lower=0.45, upper=0.8, **shared)]
    cells += [Cell(f"{m:g}", "relative_magnitude", math.nan, lower=0.4 - m / 10, upper=0.8 + m / 4, **shared)
              for m in (0.0, 0.5, 1.0)]  # fmt: skip
    breakdown = 0.3 if key == "rehab_ward_days" else 1.4
    cells.append(Cell("breakdown", "relative_magnitude", breakdown, "statistic", unit="M", n_events=240))
    return Results.from_cells(f"honest.{key}", cells, outcome=key)


def _displacement(outcome, world: World) -> Results:
    cells = [
        Cell(key, "change", -20.0 * _SIZE[world] + 8 * place, "statistic", unit=f"{outcome.count_unit} a year",
             lower=-40.0, upper=30.0, n_events=240, label=key.replace("_", " "))
        for place, key in enumerate((outcome.key, *outcome.displaced_to))
    ]  # fmt: skip
    return Results.from_cells(f"displacement.{outcome.key}", cells, outcome=outcome.key)


def _estimate(estimand, estimator, role, value, half, world, checks) -> Estimate:
    ratio = estimand.scale == "rate_ratio"
    low, high = (math.exp(value - half), math.exp(value + half)) if ratio else (value - half, value + half)
    level = 1 - 1 / 30 if ratio and role != "naive" else 0.95
    return Estimate(estimand, estimator, role, math.exp(value) if ratio else value, low, high, level, n_people=1180,
                    n_events=240, se=half / 2, p_value=0.033 if world != "none" else 0.71, checks=checks,
                    label=estimator.replace("_", " "))  # fmt: skip


def _effect(kind: str, place: int, world: World) -> tuple[float, float]:
    size, width = _SIZE[world], _WIDTH[world]
    sign = -1 if place != 5 else 1
    if kind == "readmission":
        return sign * 0.055 * size, 0.042 * width
    if kind == "rate":
        return sign * 0.5 * size, 0.36 * width
    return sign * 640.0 * size, 480.0 * width


def _naive(kind: str, value: float) -> float:
    return {"readmission": value - 0.06, "rate": value - 0.45, "cost": value - 1900}[kind]


def _attrition() -> Results:
    def cell(row: str, value: int, label: str, *totals: str) -> Cell:
        return Cell(row, "people", value, "count", totals=tuple(f"{t}/people" for t in totals), label=label)

    return Results.from_cells("attrition", [
        cell("start", 1420, "People in the tables"),
        cell("excluded.age", 112, "Younger than 18 or older than 75", "start"),
        cell("excluded.residence", 84, "Not resident in a study borough", "start"),
        cell("excluded.no_diagnosis", 31, "No long-term mental illness recorded", "start"),
        cell("excluded.died_before", 6, "Died before the study began", "start"),
        cell("included", 1187, "People studied", "start"),
        cell("group.Lambeth", 302, "Lambeth", "included"),
        cell("group.Comparators", 885, "Comparators", "included"),
    ])  # fmt: skip


def _table_one() -> Results:
    levels = {
        "sex": {"female": 0.34, "male": 0.65, "other": 0.01},
        "ethnic_group": {"black": 0.44, "white": 0.36, "asian": 0.07, "mixed": 0.07, "other": 0.06},
        "age": {"18 to 34": 0.22, "35 to 54": 0.51, "55 to 75": 0.27},
    }
    cells = []
    for group, size in zip(GROUPS, (302, 885), strict=True):
        cells.append(Cell("all", group, size, "count", label="People"))
        cells.append(Cell("age.mean", group, 44.6, "mean", unit="years", n_people=size, label="Mean age, years"))
        for variable, shares in levels.items():
            for level, share in shares.items():
                row = f"{variable}.{level}"
                label = f"{variable.replace('_', ' ').capitalize()}: {level}"
                cells.append(Cell(row, group, round(size * share), "count", totals=(f"all/{group}",), label=label))
                cells.append(Cell(row, f"{group} %", 100 * share, "percent", unit="%", numerator=f"{row}/{group}",
                                  denominator=f"all/{group}", label=label))  # fmt: skip
    return Results.from_cells("table1", cells)


def _data_tables() -> Results:
    counts = {"people": (1420, 1420), "ward_stays": (3105, 1010), "placements": (1880, 940), "contacts": (40200, 1390)}
    cells = [
        Cell(name, column, value, "count")
        for name, pair in counts.items() for column, value in zip(("rows", "people"), pair, strict=True)
    ]  # fmt: skip
    missing = {"people.ethnic_group": 41, "people.primary_diagnosis": 122, "assessments.score": 2310}
    return Results.concat([
        Results.from_cells("data_tables", cells),
        Results.from_cells("data_missing", [
            c for name, n in missing.items() for c in (
                Cell(name, "missing", n, "count"),
                Cell(name, "percent", 100 * n / 3500, "percent", unit="%", numerator=f"{name}/missing"))
        ]),
        Results.from_cells("data_findings", [Cell("overlap", "count", 14, "count", label="Ward stays that overlap")]),
    ])  # fmt: skip


def _readmission(world: World) -> Results:
    cells = []
    after = 0.055 * _SIZE[world]
    for group in GROUPS:
        for period in ("before", "after"):
            row, size = (
                f"{group}|{period}",
                {"Lambeth": 260, "Comparators": 790}[group] // (8 if world == "thin" else 1),
            )
            drop = after if (group, period) == ("Lambeth", "after") else 0
            cells.append(Cell(row, "discharges", size, "count", label=f"{group}, {period}"))
            for column, share in (("readmitted_30d", 0.10), ("readmitted_90d", 0.19), ("readmitted_365d", 0.36),
                                  ("died_365d", 0.02)):  # fmt: skip
                n = round(size * max(share - (drop if column != "died_365d" else 0), 0.01))
                cells.append(Cell(row, column, n, "count", label=f"{group}, {period}"))
                cells.append(Cell(row, f"{column}_percent", 100 * n / size, "percent", unit="%",
                                  numerator=f"{row}/{column}", denominator=f"{row}/discharges",
                                  label=f"{group}, {period}"))  # fmt: skip
    return Results.from_cells("readmission_counts", cells)


def _curve(world: World) -> Results:
    cells = []
    for group in GROUPS:
        for period in ("before", "after"):
            final = 0.36 - (0.055 * _SIZE[world] if (group, period) == ("Lambeth", "after") else 0)
            for day in (0, 30, 60, 90, 120, 180, 240, 300, 365):
                risk = final * (1 - math.exp(-day / 110)) / (1 - math.exp(-365 / 110))
                cells.append(Cell(f"{group}|{period}|{day}", "risk", risk, "statistic", unit="risk (0 to 1)",
                                  lower=max(risk - 0.04, 0), upper=risk + 0.04, level=0.95, n_people=200,
                                  n_events=60))  # fmt: skip
    return Results.from_cells("readmission_curve", cells)


def _balance() -> Results:
    names = {"age": "Age", "male": "Male", "black": "Black ethnic group", "prior_days": "Ward days in two years before",
             "prior_spells": "Hospital stays in two years before", "f20": "Schizophrenia spectrum",
             "forensic": "Forensic history", "dual": "Substance misuse as well"}  # fmt: skip
    rng = np.random.default_rng(1)
    cells = []
    for row, label in names.items():
        d = float(rng.normal(0, 0.18))
        cells += [Cell(row, "unweighted", d, "statistic", label=label, n_people=600),
                  Cell(row, "weighted", d * 0.12, "statistic", label=label, n_people=600)]  # fmt: skip
    return Results.from_cells("balance", cells)


def _trend(key: str, world: World) -> Results:
    periods = [f"{y}-{m:02d}" for y in range(2014, 2018) for m in (1, 4, 7, 10)] + ["2018-01", "2018-04"]
    base = {"residential_entry": 6.0, "rehab_admission": 4.0, "residential_discharge": 22.0,
            "acute_ward_days": 900.0, "out_of_area_rehab": 1.2, "rehab_ward_days": 400.0,
            "supported_living_entry": 5.0}[key]  # fmt: skip
    rng = np.random.default_rng(len(key))
    cells = []
    for i, period in enumerate(periods):
        for group, years in (("Lambeth", 160 / (6 if world == "thin" else 1)), ("Other areas", 4000)):
            effect = -0.5 * _SIZE[world] if group == "Lambeth" and i >= 5 else 0
            rate = base * math.exp(effect - 0.02 * i + rng.normal(0, 0.12))
            n = round(rate * years / 100)
            cells.append(Cell(period, f"{group} count", n, "count"))
            cells.append(Cell(period, group, 100 * n / years, "rate", unit="per 100 person-years",
                              numerator=f"{period}/{group} count", n_events=n))  # fmt: skip
    return Results.from_cells(f"trend.{key}", cells, outcome=key)


def _event_study(key: str, world: World) -> Results:
    cells = []
    for year, log in ((-2, 0.06), (-1, 0.0), (0, -0.3), (1, -0.5), (2, -0.6)):
        value = log * (_SIZE[world] if year >= 0 else 1)
        half = 0.3 * _WIDTH[world]
        cells.append(Cell(str(year), "effect", math.exp(value), "statistic", unit="ratio", lower=math.exp(value - half),
                          upper=math.exp(value + half), level=0.967, n_events=60,
                          label=f"Year {year}"))  # fmt: skip
    return Results.from_cells(f"event_study.{key}", cells, outcome=key)


def _placebo(key: str, protocol: Protocol, world: World) -> Results:
    rng = np.random.default_rng(3)
    cells = []
    for area in protocol.areas.all:
        value = float(rng.normal(0, 0.2)) if area != "Lambeth" else -0.5 * _SIZE[world]
        cells += [Cell(area, "effect", value, "statistic", unit="log rate ratio", n_events=80),
                  Cell(area, "studentised", value / 0.2, "statistic", n_events=80)]  # fmt: skip
    return Results.from_cells(f"placebo.{key}", cells, outcome=key)


def _costs(world: World) -> Results:
    periods = [f"{y}-{m:02d}" for y in range(2014, 2018) for m in (1, 4, 7, 10)]
    rng = np.random.default_rng(5)
    cells = []
    for i, period in enumerate(periods):
        for group, level in (("Lambeth", 9100), ("Comparators", 8700)):
            effect = -640 * _SIZE[world] if group == "Lambeth" and i >= 5 else 0
            mean = level * 0.985**i + effect + rng.normal(0, 120)
            cells.append(Cell(period, group, mean, "mean", unit="GBP per person-quarter", n_people=180))
        if i >= 5:
            cells.append(Cell(period, "Lambeth counterfactual", 9100 * 0.985**i, "mean", unit="GBP per person-quarter",
                              n_people=180))  # fmt: skip
    return Results.from_cells("cost_trend", cells, outcome="public_cost")


def _cost_parts() -> Results:
    unit = "GBP per person-quarter"
    cells = []
    for row, label, before, after in (("wards", "Wards", 3900, 3300), ("placements", "Placements", 4700, 4400),
                                      ("contacts", "Contacts", 320, 380),
                                      ("programme", "Programme", 0, 410)):  # fmt: skip
        for group, people, factor in (("Lambeth", 180, 1.0), ("Comparators", 520, 0.97)):
            for period, value in (("before", before), ("after", after)):
                cells.append(Cell(row, f"{group}|{period}", value * factor, "mean", unit=unit, n_people=people,
                                  label=label))  # fmt: skip
    return Results.from_cells("cost_parts", cells, outcome="public_cost")


def _cost_relative(world: World) -> Results:
    unit, change = "GBP per person-quarter", -640.0 * _SIZE[world]
    half = 480 * _WIDTH[world] / 9000
    return Results.from_cells("cost_relative", [
        Cell("public_cost", "actual", 9000 + change, "mean", unit=unit, n_people=180, label="Spent"),
        Cell("public_cost", "counterfactual", 9000, "mean", unit=unit, n_people=180, label="Would have been spent"),
        Cell("public_cost", "relative_change", change / 9000, "statistic", unit="share", lower=change / 9000 - half,
             upper=change / 9000 + half, level=0.95, n_people=180, label="Change against the counterfactual"),
    ], outcome="public_cost")  # fmt: skip


def _recurrence() -> Results:
    cells = []
    for row, label, people in (("all", "Everybody", 1187), ("group.Lambeth", "Lambeth", 302),
                               ("group.Comparators", "Comparators", 885)):  # fmt: skip
        cells += [
            Cell(row, column, round(people * share), "count", label=label)
            for column, share in (("people", 1.0), ("people_readmitted", 0.6), ("readmissions", 1.3), ("deaths", 0.06))
        ]
        cells.append(Cell(row, "readmissions_per_1000_days", 1.1, "rate", unit="per 1,000 days at risk", label=label,
                          numerator=f"{row}/readmissions", n_people=people))  # fmt: skip
    return Results.from_cells("description.recurrence", cells)


def _risk() -> list[Results]:
    sample = [Cell(row, column, n, "count") for row, pair in (("development", (2410, 455)), ("validation", (1890, 330)))
              for column, n in zip(("discharges", "readmitted"), pair, strict=True)]  # fmt: skip
    statistics = (("auroc", 0.66), ("brier", 0.137), ("scaled_brier", 0.06), ("calibration_intercept", -0.08),
                  ("calibration_slope", 0.93))  # fmt: skip
    performance = [
        Cell(model, name, value + add, "statistic", lower=value + add - 0.03, upper=value + add + 0.03, level=0.95,
             n_people=1890, n_events=330, label=model.replace("_", " "))
        for model, add in (("logistic", 0.0), ("gradient_boosting", 0.01)) for name, value in statistics
    ]  # fmt: skip
    out = [Results.from_cells("risk_sample", sample), Results.from_cells("risk_performance", performance)]
    for model in ("logistic", "gradient_boosting"):
        cells = []
        for tenth in range(1, 11):
            p = 0.05 + 0.032 * tenth
            seen = p * (0.93 if tenth > 5 else 1.06)
            cells += [
                Cell(str(tenth), "predicted", p, "statistic", unit="risk (0 to 1)", n_people=189, n_events=30),
                Cell(str(tenth), "observed", seen, "statistic", unit="risk (0 to 1)", lower=seen - 0.05,
                     upper=seen + 0.05, level=0.95, n_people=189, n_events=30),
            ]  # fmt: skip
        out.append(Results.from_cells(f"calibration.{model}", cells))
    return out
