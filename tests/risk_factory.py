"""Made-up tables of risk models, put through the real gate, to test figures, reports and the gate itself on.

Every number is invented. A model that is of use, one that tells nothing, one that is refused for want of people, one
that serves some people worse, and one whose risks are far too high.
"""

from __future__ import annotations

import json
import math
import tomllib
from functools import cache
from statistics import NormalDist
from typing import Literal

from evalkit.core.protocol import Protocol
from evalkit.core.result import Cell, Results
from evalkit.disclose import Release, policy, release
from tests.report_factory import PROVENANCE, ROOT

World = Literal["good", "useless", "refused", "unfair", "too_high"]
WORLDS: tuple[World, ...] = ("good", "useless", "refused", "unfair", "too_high")
HORIZON, OTHER = 90, 30
MODELS = {"prior_admissions": "Earlier admissions alone", "logistic": "Penalised logistic regression",
          "gradient_boosting": "Gradient boosting", "competing_risk": "Competing risks regression"}  # fmt: skip
MEASURES = {"auroc": 0.68, "auprc": 0.31, "brier": 0.136, "scaled_brier": 0.06, "log_loss": 0.43,
            "observed_expected": 0.99, "calibration_intercept": -0.01, "calibration_slope": 0.97, "ici": 0.012,
            "e50": 0.01, "e90": 0.03, "emax": 0.06}  # fmt: skip
HALVES = {"auroc": 0.03, "auprc": 0.04, "brier": 0.01, "scaled_brier": 0.02, "log_loss": 0.02,
          "observed_expected": 0.09, "calibration_intercept": 0.1, "calibration_slope": 0.12, "ici": 0.008,
          "e50": 0.008, "e90": 0.015, "emax": 0.03}  # fmt: skip
WORSE = {
    "useless": {"auroc": 0.51, "auprc": 0.18, "scaled_brier": -0.01, "calibration_slope": 0.08},
    "too_high": {"observed_expected": 0.62, "calibration_intercept": -0.6, "calibration_slope": 0.7,
                 "scaled_brier": -0.05},
}  # fmt: skip
UNFAIR = {"auroc": 0.57, "observed_expected": 1.45, "calibration_slope": 0.5}
WHY = "risk model: fewer than 10 events per predictor parameter. Gather more discharges"
DISCHARGES, EVENTS, PEOPLE = 1893, 331, 1214
DEVELOPED = (4012, 702)
TERMS = {"prior_admissions": ("Each earlier admission in two years", 1.31, 0.1),
         "length_of_stay": ("Each further 30 days of stay", 0.95, 0.06),
         "self_discharge": ("Left against advice", 1.62, 0.35)}  # fmt: skip
GROUPS = {"sex": {"female": 0.46, "male": 0.54},
          "ethnic_group": {"asian": 0.1, "black": 0.42, "white": 0.44, "not recorded": 0.04},
          "deprivation": {"most deprived fifth": 0.5, "other": 0.5}}  # fmt: skip
NAN = math.nan
_NORMAL = NormalDist()


def risk_protocol(*, risk: bool = True) -> Protocol:
    """The default study with every kind of model; or without any."""
    content = tomllib.loads((ROOT / "protocols" / "ipsa.toml").read_text(encoding="utf-8"))
    content["risk_model"] = {
        "horizon_days": HORIZON, "other_horizons_days": [OTHER], "develop_until": "2015-04-01", "models": list(MODELS),
        "primary": "logistic", "groups": list(GROUPS),
    }  # fmt: skip
    if not risk:
        del content["risk_model"]
    return Protocol.model_validate_json(json.dumps(content, default=str))


def risk_results(world: World = "good", *, protocol: Protocol | None = None) -> Results:
    """Every table of one world before the gate."""
    protocol = protocol or risk_protocol()
    return Results.concat(risk_parts(world)).stamped(notebook="sample", protocol=protocol.digest, data="0" * 64)


def risk_release(world: World = "good", *, drop: tuple[str, ...] = (), few: bool = False,
                 protocol: Protocol | None = None) -> Release:  # fmt: skip
    """The tables of one world; `drop` leaves out tables by the start of their names, `few` has too few people."""
    if protocol is None:
        return _released_once(world, drop, few)
    return _release(world, drop, few, protocol)


@cache
def _released_once(world: World, drop: tuple[str, ...], few: bool) -> Release:
    return _release(world, drop, few, risk_protocol())


def _release(world: World, drop: tuple[str, ...], few: bool, protocol: Protocol) -> Release:
    frame = risk_results(world, protocol=protocol).frame
    kept = frame[[not str(t).startswith(drop) for t in frame["table"]]] if drop else frame
    if few:
        kept = kept.assign(n_people=6.0, n_events=4.0)
        kept = kept[kept["table"] != "risk_dependence"]  # whose points must have enough people near them to pass
    return release(Results(kept), policy=policy(protocol.disclosure.profile), protocol=protocol, provenance=PROVENANCE)


def risk_parts(world: World) -> list[Results]:
    tables: dict[str, list[Cell]] = {"risk_sample": sample(), "risk_size": size(world),
                                     "risk_performance": performance(world), "checks.risk": checks(world)}  # fmt: skip
    if world != "refused":
        tables |= validation(world) | decisions(world) | groups(world) | explanation()
        for model in MODELS:
            tables |= calibration(model, world)
    return [Results.from_cells(name, cells) for name, cells in tables.items()]


def stat(row: str, column: str, value: float, half: float = NAN, *, label: str = "", people: float = PEOPLE,
         events: float = EVENTS, unit: str = "") -> Cell:  # fmt: skip
    return Cell(row, column, value, "statistic", unit=unit, lower=value - half, upper=value + half,
                level=0.95 if half == half else NAN, label=label, n_people=people, n_events=events)  # fmt: skip


def refused(row: str, column: str, label: str = "") -> Cell:
    return Cell(row, column, NAN, "statistic", label=label, status="not_estimable", reason=WHY)


def sample() -> list[Cell]:
    numbers = {"development": (*DEVELOPED, 61), "validation": (DISCHARGES, EVENTS, 28)}
    return [Cell(f"{h}|{part}", column, n if h == HORIZON or column == "discharges" else round(n * 0.55), "count",
                 label=f"Discharges for {part}")
            for h in (HORIZON, OTHER) for part, found in numbers.items()
            for column, n in zip(("discharges", "readmitted", "died"), found, strict=True)]  # fmt: skip


def size(world: World) -> list[Cell]:
    criteria = {"shrinkage": ("Shrinkage of at least 0.9", 3122), "r2_difference": ("Little optimism in R2", 655),
                "overall_risk": ("Mean risk to within 0.05", 221)}  # fmt: skip
    have = 812 if world == "refused" else DEVELOPED[0]
    cells = []
    for row, (label, needed) in criteria.items():
        cells += [stat(f"{HORIZON}|logistic|{row}", "needed", needed, label=label),
                  stat(f"{HORIZON}|logistic|{row}", "have", have, label=label)]  # fmt: skip
    for row, (label, needed) in {"observed_expected": ("O/E to within 0.1", 1644), "slope": ("Slope to 0.1", 2801),
                                 "auroc": ("AUROC to within 0.05", 655)}.items():  # fmt: skip
        cells += [stat(f"{HORIZON}|validation|{row}", "needed", needed, label=label),
                  stat(f"{HORIZON}|validation|{row}", "have", DISCHARGES, label=label)]  # fmt: skip
    whole = "refuse" if world == "refused" else "develop"
    for whom, verdict in (("logistic", whole), ("service", "refuse")):
        why = f"The discharges {'do not reach' if verdict == 'refuse' else 'reach'} what is needed"
        cells.append(Cell(f"{HORIZON}|{whom}|verdict", "verdict", float(verdict == "develop"), "check", unit=verdict,
                          label=whom, reason=why, n_people=PEOPLE, n_events=EVENTS))  # fmt: skip
    return cells


def measure(name: str, world: World, model: str) -> float:
    value = WORSE.get(world, {}).get(name, MEASURES[name])
    return 0.6 if name == "auroc" and model == "prior_admissions" and world != "useless" else value


def performance(world: World) -> list[Cell]:
    cells = []
    for h in (HORIZON, OTHER):
        for model, label in MODELS.items():
            row = f"{h}|{model}"
            cells += [refused(row, name, label) if world == "refused"
                      else stat(row, name, measure(name, world, model), HALVES[name], label=label)
                      for name in MEASURES]  # fmt: skip
    return cells


def checks(world: World) -> list[Cell]:
    few = world == "refused"
    return [
        Cell("sample", "people_in_both_parts", 0.25, "check", unit="informs", label="people in both parts",
             reason="About 25% of the people in validation were also in development."),
        Cell("logistic", "events_per_predictor", 4.1 if few else 22.0, "check", unit="failed" if few else "passed",
             label="events per predictor", reason="Events for each predictor parameter."),
    ]  # fmt: skip


def calibration(model: str, world: World) -> dict[str, list[Cell]]:
    """Tenths, and a curve on a fixed grid that goes beyond them."""
    stretch = {"useless": 0.08, "too_high": 0.6}.get(world, 0.97)
    tenths, curve = [], []

    def seen(p: float) -> float:
        return 0.175 + stretch * (p - 0.175) if world != "too_high" else 0.6 * p

    for tenth in range(1, 11):
        p, people = 0.04 + 0.03 * tenth, 189
        n = round(seen(p) * people)
        both = {"people": people, "events": n, "label": f"Group {tenth} of 10 by predicted risk"}
        tenths += [stat(str(tenth), "predicted", p, **both), stat(str(tenth), "observed", n / people, 0.06, **both)]
    for i, p in enumerate(0.01 * k for k in range(2, 60, 2)):
        curve += [stat(str(i), "predicted", p), stat(str(i), "smooth", max(seen(p), 0.01), 0.02 + 0.05 * p)]
    return {f"calibration.{model}": tenths, f"risk_curve.{model}": curve}


def validation(world: World) -> dict[str, list[Cell]]:
    cells: dict[str, list[Cell]] = {k: [] for k in (
        "risk_optimism", "risk_cross", "risk_places", "risk_learning", "risk_instability", "risk_instability_curve",
        "risk_recalibration", "risk_drift", "risk_missing", "risk_time", "risk_imputed")}  # fmt: skip
    for model, label in MODELS.items():
        row = f"{HORIZON}|{model}"
        for name in ("auroc", "scaled_brier", "calibration_slope"):
            value = measure(name, world, model)
            cells["risk_optimism"] += [
                stat(row, f"{name}|apparent", value + 0.02, label=label),
                stat(row, f"{name}|optimism", 0.02, label=label),
                stat(row, f"{name}|corrected", value, HALVES[name], label=label)]  # fmt: skip
            cells["risk_imputed"].append(stat(row, name, value, HALVES[name], label=label))
            cells["risk_cross"].append(stat(row, name, value - 0.005, HALVES[name], label=label))
        cells["risk_time"] += [stat(row, "harrell_c", measure("auroc", world, model), 0.03, label=label),
                               stat(row, "ipa", measure("scaled_brier", world, model), 0.02, label=label)]  # fmt: skip
    for area, shift in (("Lambeth", 0.02), ("Croydon", -0.03), ("Lewisham", 0.0), ("pooled", 0.0), ("prediction", 0.0)):
        for name in ("auroc", "calibration_slope", "observed_expected"):
            value, wide = measure(name, world, "logistic") + shift, 2.2 if area == "prediction" else 1.6
            n = {} if area in ("pooled", "prediction") else {"people": 380, "events": 104}
            cells["risk_places"].append(stat(f"logistic|{area}", name, value, wide * HALVES[name], label=area, **n))
    for share in (0.2, 0.4, 0.6, 0.8, 1.0):
        row = f"logistic|{share:g}"
        cells["risk_learning"] += [
            stat(row, "auroc", measure("auroc", world, "logistic") - 0.04 * (1 - share), 0.03),
            stat(row, "calibration_slope", 1 - 0.3 * (1 - share), 0.15),
            stat(row, "discharges", round(DEVELOPED[0] * share))]  # fmt: skip
    cells["risk_instability"] = [stat("logistic", "mape", 0.021), stat("logistic", "share_beyond_0.05", 0.083)]
    for k in range(10):  # bins of like risk; the last holds few people
        risk, n = 0.05 + 0.004 * k**2, {"people": 6 if k == 9 else 118, "events": NAN}
        for column, size in (("risk", 1.0), ("low", 0.8), ("high", 1.25)):
            cells["risk_instability_curve"].append(stat(f"{0.05 + 0.1 * k:.3f}", column, size * risk, **n))
    for place in ("later", "Lambeth"):
        for method, ratio in (("none", measure("observed_expected", world, "logistic")), ("intercept", 1.0),
                              ("intercept_slope", 1.0), ("refit", 1.01)):  # fmt: skip
            row = f"{place}|{method}"
            cells["risk_recalibration"] += [
                stat(row, "observed_expected", ratio, 0.08),
                stat(row, "calibration_slope", 0.98, 0.1),
                stat(row, "brier", 0.135, 0.01),
                stat(row, "auroc", measure("auroc", world, "logistic"), 0.03),
            ]
    for year, shift in ((2015, 0.0), (2016, -0.05), (2017, -0.11)):
        for name in ("observed_expected", "calibration_slope", "auroc"):
            value = measure(name, world, "logistic") + shift
            cells["risk_drift"].append(stat(str(year), name, value, 1.7 * HALVES[name], people=410, events=108))
    for name, share in (("length_of_stay", 0.021), ("imd_decile", 0.083)):
        for part, n in (("development", DEVELOPED[0]), ("validation", DISCHARGES)):
            cells["risk_missing"].append(stat(name, part, share, label=name.replace("_", " "), people=n, events=NAN))
    return cells  # fmt: skip


def flagged_counts(world: World, share: float) -> tuple[int, int]:
    """How many are pointed at, and how many of them come back: a normal model of the risks."""
    apart = 0.0 if world == "useless" else 0.66
    pointed = round(DISCHARGES * share)
    cut = _NORMAL.inv_cdf(1 - share)
    for _ in range(60):  # the cut that points at just so many
        came = 1 - _NORMAL.cdf(cut - apart * (1 - EVENTS / DISCHARGES))
        other = 1 - _NORMAL.cdf(cut + apart * EVENTS / DISCHARGES)
        cut += 0.5 * ((EVENTS * came + (DISCHARGES - EVENTS) * other) / DISCHARGES - share)
    return pointed, min(round(EVENTS * came), pointed)


def threshold_cells(row: str, pointed: int, found: int, *, events: int = EVENTS, total: int = DISCHARGES) -> list[Cell]:
    def share(column: str, top: float, whole: float) -> Cell:
        value = top / whole
        half = 1.96 * math.sqrt(max(value * (1 - value), 1e-9) / whole)
        return stat(row, column, 100 * value, 100 * half, people=total, events=events)

    alarms = (pointed - found) / found
    return [share("flagged_per_100", pointed, total), share("came_back_of_100_flagged", found, pointed),
            share("found_of_100", found, events), stat(row, "alarms_per_found", alarms, 0.3 * alarms)]  # fmt: skip


def decisions(world: World) -> dict[str, list[Cell]]:
    threshold = [c for s in (0.05, 0.1, 0.2) for c in threshold_cells(f"share|{s:g}", *flagged_counts(world, s))]
    benefit, competing = [], []
    for t, share in ((0.05, 0.97), (0.1, 0.85), (0.15, 0.6), (0.2, 0.35), (0.25, 0.18), (0.3, 0.1)):
        pointed, found = flagged_counts(world, share)
        threshold += threshold_cells(f"risk|{t:g}", pointed, found)
        odds = t / (1 - t)
        everybody = EVENTS / DISCHARGES - odds * (1 - EVENTS / DISCHARGES)
        for model, label in MODELS.items():
            value = found / DISCHARGES - odds * (pointed - found) / DISCHARGES
            value -= 0.004 if model == "prior_admissions" else 0.0
            for cells, less in ((benefit, 0.0), (competing, 0.003)):
                cells += [
                    stat(f"{model}|{t:g}", "net_benefit", value - less, 0.012, label=label),
                    stat(f"{model}|{t:g}", "avoided_per_100", 100 * (value - everybody) / odds, 6.0, label=label),
                ]
        for cells in (benefit, competing):
            cells.append(stat(f"all|{t:g}", "net_benefit", everybody, 0.012, label="Treat all"))
    return {"risk_threshold": threshold, "risk_net_benefit": benefit, "risk_net_benefit_competing": competing}


def group_counts(world: World, name: str, share: float) -> dict[str, int]:
    """Discharges, events, pointed at and found of one level; in an unfair world the model misses black people."""
    total, events = round(DISCHARGES * share), round(EVENTS * share)
    missed = world == "unfair" and name == "black"
    return {"total": total, "events": events, "pointed": round(total * (0.1 if missed else 0.22)),
            "found": round(events * (0.14 if missed else 0.4))}  # fmt: skip


def groups(world: World) -> dict[str, list[Cell]]:
    found: list[Cell] = []
    cuts: list[Cell] = []
    for characteristic, levels in GROUPS.items():
        for name, share in levels.items():
            row, n = f"{characteristic}|{name}", group_counts(world, name, share)
            unfair = world == "unfair" and name == "black"
            shared = {"people": round(PEOPLE * share), "events": n["events"], "label": name}
            for m in MEASURES:
                value = measure(m, world, "logistic")
                value = UNFAIR.get(m, value) if unfair else value
                found.append(stat(row, m, value, 1.8 * HALVES[m], **shared))
            found.append(Cell(row, "discharges", n["total"], "count", label=name, n_people=shared["people"]))
            sums = {"flagged_per_100": (n["pointed"], n["total"], 100), "sensitivity": (n["found"], n["events"], 1),
                    "false_positive_rate": (n["pointed"] - n["found"], n["total"] - n["events"], 1),
                    "ppv": (n["found"], n["pointed"], 1)}  # fmt: skip
            for column, (top, whole, scale) in sums.items():
                half = 1.96 * math.sqrt(max(top / whole * (1 - top / whole), 1e-9) / whole)
                cuts.append(stat(row, column, scale * top / whole, scale * half, **shared))
    gaps = []
    for characteristic in GROUPS:
        wide = world == "unfair" and characteristic == "ethnic_group"
        for m, size in (
            ("auroc", 0.11),
            ("observed_expected", 0.45),
            ("sensitivity", 0.26),
            ("calibration_slope", 0.47),
        ):
            value, half = (size, 0.6 * size) if wide else (0.2 * size, 0.6 * size)
            gaps.append(
                Cell(
                    characteristic,
                    m,
                    value,
                    "statistic",
                    lower=max(value - half, 0),
                    upper=value + half,
                    level=0.95,
                    label=characteristic.replace("_", " "),
                    n_people=PEOPLE,
                    n_events=EVENTS,
                )
            )
    return {"risk_groups": found, "risk_group_threshold": cuts, "risk_group_gap": gaps} | more_of_groups()  # fmt: skip


def more_of_groups() -> dict[str, list[Cell]]:
    """Tests of equality, what cannot be equal at once, and curves within levels."""
    equality = [stat(f"{c}|{m}", column, value) for c in GROUPS for m in ("auroc", "sensitivity")
                for column, value in (("if_equal", 0.0312), ("p_value", 0.4321))]  # fmt: skip
    conflict, curves = [], []
    for characteristic, levels in GROUPS.items():
        for name, share in levels.items():
            row, n = f"{characteristic}|{name}", {"people": round(PEOPLE * share), "events": round(EVENTS * share)}
            conflict += [stat(row, "base_rate", round(EVENTS * share) / round(DISCHARGES * share), **n),
                         stat(row, "fpr_needed", 0.1876, **n), stat(row, "mean_risk_events", 0.2134, **n),
                         stat(row, "mean_risk_others", 0.1612, **n)]  # fmt: skip
            for k, p in enumerate((0.1, 0.15, 0.2, 0.25)):
                curves += [stat(f"{row}|{k + 1}", "predicted", p, **n), stat(f"{row}|{k + 1}", "smooth", p, 0.05, **n)]
    return {"risk_group_equality": equality, "risk_group_conflict": conflict, "risk_group_curve": curves}


def explanation() -> dict[str, list[Cell]]:
    terms = [Cell(t, "odds_ratio", v, "statistic", unit="ratio", lower=v * math.exp(-h), upper=v * math.exp(h),
                  level=0.95, label=words, n_people=DEVELOPED[0], n_events=DEVELOPED[1])
             for t, (words, v, h) in TERMS.items()]  # fmt: skip
    importance = [
        stat(f"logistic|{t}", column, size / (k + 1), 0.012, label=TERMS[t][0])
        for k, t in enumerate(TERMS)
        for column, size in (("auroc_drop", 0.06), ("log_loss_rise", 0.02))
    ]
    dependence = [stat(f"prior_admissions|{k}", column, value, half, label="Earlier admissions")
                  for k, share in enumerate((0.48, 0.27, 0.14, 0.11))
                  for column, value, half in (("risk", 0.12 + 0.05 * k, 0.02), ("share", share, NAN))]  # fmt: skip
    return {"risk_terms": terms, "risk_importance": importance, "risk_dependence": dependence}


def every_table() -> tuple[str, ...]:
    return tuple(dict.fromkeys(risk_results("good").frame["table"]))
