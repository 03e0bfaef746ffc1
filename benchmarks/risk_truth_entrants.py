"""Who tries on the worlds of the risk truth run: each takes what a world drew and gives values with intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
from person_truth_types import Entrant, Found
from scipy.special import expit, logit

from evalkit.risk.data import RiskData
from evalkit.risk.decision import DecisionCurve, compute_difference, estimate_decision_curve
from evalkit.risk.fairness import build_group_sample, estimate_group_gaps, estimate_group_performance
from evalkit.risk.fairness_threshold import FlagRule, estimate_group_threshold
from evalkit.risk.measures import MEASURES
from evalkit.risk.threshold_table import QUANTITIES, compute_threshold_table
from evalkit.risk.validate import validate_risk_model
from evalkit.simulate.risk_worlds import (
    GROUPS,
    RiskSettings,
    RiskWorld,
    draw_population,
)

THRESHOLDS = (0.2, 0.3)
DRAWS = 200  # of every bootstrap
FEW = 50  # where no number that is shown hangs on it
LARGE = 60_000  # discharges on which a developed model's own truth is taken
DISTANCES = ("ici", "e50", "e90", "emax")
SMOOTH = tuple(name for name in MEASURES if name not in DISTANCES)


# ---- validation ----------------------------------------------------------------------------------


def distances_of(settings: RiskSettings, world: RiskWorld) -> dict[str, float]:
    """Distances of stated and true risk: of the population, the largest among the discharges drawn."""

    def between(stated: np.ndarray) -> np.ndarray:
        true = expit((logit(stated) - settings.stated_intercept) / settings.stated_slope)
        return np.abs(true - stated)

    everybody = between(draw_population(settings).stated[:LARGE])
    found = {"ici": everybody.mean(), "e50": np.median(everybody), "e90": np.quantile(everybody, 0.9)}
    return {name: float(value) for name, value in found.items()} | {"emax": float(between(world.stated).max())}


def measure(data: dict) -> dict[str, Found]:
    world = data["world"]
    return validate(world.stated, world.outcome, world.person, data["rng"])


def measure_each_alone(data: dict) -> dict[str, Found]:
    """As if each discharge were another person's."""
    world = data["world"]
    return validate(world.stated, world.outcome, np.arange(len(world.person)), data["rng"])


def validate(risk: np.ndarray, outcome: np.ndarray, person: np.ndarray, rng: np.random.Generator) -> dict[str, Found]:
    frame = validate_risk_model(risk, outcome, person=person, rng=rng, replicates=DRAWS).frame
    return {name: Found(row["value"], row["lower"], row["upper"]) for name, row in frame.iterrows()}


def decide(data: dict) -> dict[str, Found]:
    world = data["world"]
    curve = estimate_decision_curve(world.stated, world.outcome, person=world.person, thresholds=THRESHOLDS)
    return read_benefits(curve, data["truth"])


def decide_each_alone(data: dict) -> dict[str, Found]:
    world = data["world"]
    everybody = np.arange(len(world.person))
    curve = estimate_decision_curve(world.stated, world.outcome, person=everybody, thresholds=THRESHOLDS)
    return read_benefits(curve, data["truth"])


def read_benefits(curve: DecisionCurve, truth: dict[str, float]) -> dict[str, Found]:
    share = compute_share(truth)
    found = {}
    rows = curve.frame[curve.frame["strategy"] == "model"].set_index("threshold")
    gains = compute_difference(curve, "model", "all").set_index("threshold")
    for t in THRESHOLDS:
        odds = t / (1 - t)
        truth[f"gain_over_all|{t:g}"] = truth[f"net_benefit|{t:g}"] - (share - odds * (1 - share))
        truth[f"avoided_per_100|{t:g}"] = 100 * truth[f"gain_over_all|{t:g}"] / odds
        truth[f"standardised|{t:g}"] = truth[f"net_benefit|{t:g}"] / share
        for name in ("net_benefit", "standardised", "avoided_per_100"):
            found[f"{name}|{t:g}"] = Found(*(rows.loc[t, f"{name}{end}"] for end in ("", "_lower", "_upper")))
        found[f"gain_over_all|{t:g}"] = Found(*(gains.loc[t, f"difference{end}"] for end in ("", "_lower", "_upper")))
    return found


def compute_share(truth: dict[str, float]) -> float:
    """The share readmitted in the population, from what is found of them at the first threshold."""
    t = f"{THRESHOLDS[0]:g}"
    return truth[f"flagged_per_100|{t}"] * truth[f"came_back_of_100_flagged|{t}"] / 100 / truth[f"found_of_100|{t}"]


def tabulate(data: dict) -> dict[str, Found]:
    world = data["world"]
    frame = compute_threshold_table(
        world.stated, world.outcome, person=world.person, thresholds=THRESHOLDS
    ).frame.set_index("value")  # fmt: skip
    return {
        f"{name}|{t:g}": Found(*(frame.loc[t, f"{name}{end}"] for end in ("", "_lower", "_upper")))
        for t in THRESHOLDS for name in QUANTITIES
    }  # fmt: skip


def same_names(names: tuple[str, ...]) -> dict[str, str]:
    return {name: name for name in names}


def same_at_thresholds(names: tuple[str, ...]) -> dict[str, str]:
    return same_names(tuple(f"{name}|{t:g}" for t in THRESHOLDS for name in names))


BENEFITS = ("net_benefit", "standardised", "avoided_per_100", "gain_over_all")
MEASURED = (
    Entrant("measures", same_names(MEASURES), measure),
    Entrant("net benefit", same_at_thresholds(BENEFITS), decide),
    Entrant("threshold table", same_at_thresholds(QUANTITIES), tabulate),
)


def alone() -> tuple[Entrant, ...]:
    """What goes wrong where repeats of a person are taken for other people."""
    return (
        Entrant("measures, each alone", same_names(("auroc", "brier", "observed_expected", "calibration_intercept")),
                measure_each_alone, fails=True, share=0.5),
        Entrant("net benefit, each alone", same_at_thresholds(("net_benefit",)), decide_each_alone, fails=True),
    )  # fmt: skip


# ---- groups --------------------------------------------------------------------------------------

GROUP_MEASURES = ("auroc", "brier", "observed_expected", "calibration_intercept", "calibration_slope")
GROUP_RATES = ("flagged_per_100", "sensitivity", "false_positive_rate")


def compare_groups(data: dict) -> dict[str, Found]:
    world, rng = data["world"], data["rng"]
    risks = as_data(world, groups=world.groups[["group"]])
    sample = build_group_sample(world.stated, risks, replicates=DRAWS, rng=rng)
    rates = estimate_group_threshold(sample, FlagRule("risk", THRESHOLDS[1]))
    performance = estimate_group_performance(sample)
    found = {}
    for estimates, names, tail in ((performance, GROUP_MEASURES, ""), (rates, GROUP_RATES, f"|{THRESHOLDS[1]:g}")):
        for at, level in enumerate(estimates.levels):
            for name in names:
                k = estimates.names.index(name)
                parts = (part[at, k] for part in (estimates.values, estimates.lower, estimates.upper))
                found[f"{name}{tail}, {level.name}"] = Found(*parts)
        for gap in estimate_group_gaps(estimates, names=names):
            found[f"gap in {gap.measure}{tail}"] = Found(gap.value, gap.lower, gap.upper)
    return found


def as_data(world: RiskWorld, *, features: pd.DataFrame | None = None, groups: pd.DataFrame | None = None) -> RiskData:
    return RiskData(world.features if features is None else features, world.outcome, world.person, world.time,
                    groups=groups)  # fmt: skip


_RATES = tuple(f"{name}|{THRESHOLDS[1]:g}" for name in GROUP_RATES)
GROUPED = (
    Entrant(
        "group measures",
        same_names((
            *(f"{name}, {group}" for group in GROUPS for name in (*GROUP_MEASURES, *_RATES)),
            *(f"gap in {name}" for name in (*GROUP_MEASURES, *_RATES)),
        )),
        compare_groups,
        share=0.5,
    ),
)  # fmt: skip
