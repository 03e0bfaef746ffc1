"""Readmission within 30 days in the UCI diabetes data: developed on some patients, validated on others.

    python examples/diabetes_readmission/run.py DATA [--history no]

DATA is `data.parquet` or `diabetic_data.csv`. See the README beside this file for what is done and why.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from prepare import Discharges, build_discharges, read_encounters
from sklearn.ensemble import HistGradientBoostingClassifier

from evalkit.risk.calibration import compute_calibration_band
from evalkit.risk.data import RiskData
from evalkit.risk.decision import compute_difference, estimate_decision_curve
from evalkit.risk.fairness import FEWEST_PEOPLE, build_group_sample, estimate_group_gaps, estimate_group_performance
from evalkit.risk.fairness_threshold import FlagRule, estimate_group_threshold
from evalkit.risk.model import ModelOptions, RiskModel, fit_own_model, fit_risk_model, predict_risk
from evalkit.risk.prepare import build_frame, build_linear_preparation, count_parameters, describe_columns
from evalkit.risk.sample_size import judge_sample, judge_validation
from evalkit.risk.threshold_table import compute_threshold_table
from evalkit.risk.validate import MEASURE_LABELS, RiskPerformance, validate_risk_model

EXPECTED_AUROC = 0.65  # published ones lie at about 0.64 to 0.69
SEED = 1
PRIMARY = "own"
RULE = ModelOptions(rule_column="inpatient_visits_in_year")
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
SHARES = (0.05, 0.1, 0.2)
NAMES = {
    "prior_admissions": "prior inpatient visits alone",
    "logistic": "penalised logistic regression",
    "gradient_boosting": "gradient boosting, 100 small trees",
    "own": "gradient boosting, 200 larger trees",
}


def judge_size(data: Discharges) -> None:
    """What the discharges can bear, before any model is fitted."""
    columns = describe_columns(data.development.features)
    frame = build_frame(data.development.features, columns)
    parameters = count_parameters(build_linear_preparation(columns), frame, columns)
    verdict = judge_sample(
        data.development.outcome, data.development.person, parameters=parameters, expected_auroc=EXPECTED_AUROC
    )
    later = judge_validation(data.validation.outcome, data.validation.person, expected_auroc=EXPECTED_AUROC)
    for name, part in data._asdict().items():
        print(f"{name}: {len(part):,} discharges of {part.n_people:,} people, {part.n_events:,} readmitted in 30 days")
    print(f"{parameters} candidate parameters: {verdict.verdict}. {verdict.reason}")
    for criterion in (*verdict.criteria, *later):
        print(f"  {criterion.label}: {criterion.needed:,} needed, {criterion.have:,.0f} (effective) there")


def fit_model(name: str, development: RiskData) -> RiskModel:
    """The rule to beat, the two models of evalkit, or one of the user's own; no choice was made on validation."""
    if name == "prior_admissions":
        return fit_risk_model(development, kind=name, seed=SEED, options=RULE)
    if name == "logistic":
        return fit_risk_model(development, kind=name, seed=SEED, options=ModelOptions(penalty=100.0))
    if name == "gradient_boosting":
        return fit_risk_model(development, kind=name, seed=SEED)
    larger = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=200, max_leaf_nodes=31, min_samples_leaf=100, max_features=0.15,
        l2_regularization=5.0, early_stopping=False,
    )  # fmt: skip
    return fit_own_model(development, larger, seed=SEED)


def validate_models(
    models: Mapping[str, RiskModel], validation: RiskData, *, replicates: int
) -> tuple[dict[str, np.ndarray], dict[str, RiskPerformance]]:
    """Risks and performance of each model in the patients that were held out.

    A specialty or a code of admission that no development patient had counts as a rare one.
    """
    risks = {name: predict_risk(model, validation.features, on_unseen="pool") for name, model in models.items()}
    performance = {
        name: validate_risk_model(
            risk, validation.outcome, person=validation.person, rng=np.random.default_rng(SEED), replicates=replicates
        )
        for name, risk in risks.items()
    }
    return risks, performance


def print_performance(performance: Mapping[str, RiskPerformance]) -> None:
    first = next(iter(performance.values()))
    table = {
        name: [f"{row.value:.3f} ({row.lower:.3f} to {row.upper:.3f})" for row in found.frame.itertuples(index=False)]
        for name, found in performance.items()
    }
    print(pd.DataFrame(table, index=[MEASURE_LABELS[name] for name in first.names]).to_string())
    print("\n".join(f"  {name}: {words}" for name, words in NAMES.items()))


def print_calibration(risk: np.ndarray, data: RiskData) -> None:
    band = compute_calibration_band(risk, data.outcome, person=data.person, rng=np.random.default_rng(SEED))
    places = np.linspace(0, len(band.predicted) - 1, 12).astype(int)
    columns = {"risk": band.predicted, "came back": band.smooth, "lower": band.lower, "upper": band.upper}
    print(pd.DataFrame(columns).iloc[places].round(3).to_string(index=False))


def print_decisions(risks: Mapping[str, np.ndarray], data: RiskData) -> None:
    curve = estimate_decision_curve(risks, data.outcome, person=data.person, thresholds=THRESHOLDS)
    wide = curve.frame.pivot_table(index="threshold", columns="strategy", values="net_benefit", sort=False)
    print((100 * wide).round(2).to_string())
    gain = compute_difference(curve, PRIMARY, "prior_admissions")
    for row in gain.itertuples(index=False):
        ends = f"{100 * row.difference_lower:+.2f} to {100 * row.difference_upper:+.2f}"
        print(f"  at {row.threshold:g}, {PRIMARY} over prior_admissions: {100 * row.difference:+.2f} ({ends})")
    table = compute_threshold_table(
        risks[PRIMARY], data.outcome, person=data.person, thresholds=THRESHOLDS, flagged_shares=SHARES
    ).frame
    print(table[["rule", "value", "flagged_per_100", "came_back_of_100_flagged", "found_of_100", "alarms_per_found"]]
          .round(2).to_string(index=False))  # fmt: skip


def print_groups(risk: np.ndarray, data: RiskData, *, replicates: int) -> None:
    sample = build_group_sample(risk, data, replicates=replicates, rng=np.random.default_rng(SEED))
    found = estimate_group_performance(sample)
    flagged = estimate_group_threshold(sample, FlagRule("share", 0.1))
    rows = []
    for at, group in enumerate(found.levels):
        cells = {
            "group": f"{group.characteristic}: {group.name}",
            "discharges": group.n_discharges if group.n_people >= FEWEST_PEOPLE else "fewer than 10",
        }
        for name in ("auroc", "observed_expected", "calibration_slope"):
            k = found.names.index(name)
            cells[name] = f"{found.values[at, k]:.2f} ({found.lower[at, k]:.2f} to {found.upper[at, k]:.2f})"
        for name in ("flagged_per_100", "sensitivity", "ppv"):
            cells[name] = round(float(flagged.values[at, flagged.names.index(name)]), 2)
        rows.append(cells)
    print(pd.DataFrame(rows).to_string(index=False))
    for gap in estimate_group_gaps(found, names=["auroc", "observed_expected"]):
        print(f"  largest gap in {gap.measure} by {gap.characteristic}: {gap.value:.2f} ({gap.lower:.2f} to "
              f"{gap.upper:.2f}), {gap.highest} over {gap.lowest}; {gap.if_equal:.2f} if all were alike")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--history", choices=("yes", "no"), default="yes", help="use earlier encounters of a patient")
    parser.add_argument("--replicates", type=int, default=200, help="bootstrap draws of people")
    given = parser.parse_args()
    start = time.perf_counter()
    data = build_discharges(read_encounters(given.data), history=given.history == "yes")
    print("\n1. Are there enough people?\n")
    judge_size(data)
    models = {name: fit_model(name, data.development) for name in NAMES}
    risks, performance = validate_models(models, data.validation, replicates=given.replicates)
    print("\n2. Performance in the patients held out (95% intervals, by person)\n")
    print_performance(performance)
    print(f"\n3. Calibration of {NAMES[PRIMARY]}: smooth curve with a pointwise 95% band\n")
    print_calibration(risks[PRIMARY], data.validation)
    print("\n4. Net benefit in 100 discharges, by the risk at which one would act; and what flagging does to people\n")
    print_decisions(risks, data.validation)
    print("\n5. For whom it works; flagged: the tenth of all discharges with the highest risk\n")
    print_groups(risks[PRIMARY], data.validation, replicates=given.replicates)
    print(f"\n{time.perf_counter() - start:.0f} seconds")


if __name__ == "__main__":
    main()
