"""Whom a model serves worse, and what it goes by, as cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from evalkit.analysis.risk_data import asked_model
from evalkit.analysis.risk_develop import HorizonStudy, Named
from evalkit.analysis.study import Study
from evalkit.cohort.predictors import PREDICTOR_LABELS
from evalkit.core.result import Cell
from evalkit.core.sections import Predictor, RiskKind
from evalkit.risk.explain import estimate_dependence, estimate_importance
from evalkit.risk.explain_cells import risk_dependence_cells, risk_importance_cells, risk_term_cells
from evalkit.risk.explain_terms import OddsRatioOptions, estimate_odds_ratios
from evalkit.risk.explain_words import TermWords
from evalkit.risk.fairness import build_group_sample, estimate_group_gaps, estimate_group_performance
from evalkit.risk.fairness_cells import (
    group_cells,
    group_conflict_cells,
    group_curve_cells,
    group_equality_cells,
    group_gap_cells,
    group_threshold_cells,
)
from evalkit.risk.fairness_curves import fit_group_curves
from evalkit.risk.fairness_threshold import FlagRule, conflict_checks, describe_conflicts, estimate_group_threshold
from evalkit.risk.model import RiskModel, predict_risk
from evalkit.risk.resample import draw_person_counts

# Steps in which an odds ratio means something to a reader.
_STEPS: Mapping[Predictor, tuple[float, str, str]] = MappingProxyType({
    "age_years": (10.0, "years", ""), "imd_decile": (1.0, "decile", ""), "prior_admissions": (1.0, "admission", ""),
    "log_stay_days": (math.log(2), "", "twice as long"), "log_prior_ward_days": (math.log(2), "", "twice as many"),
    "contacts_90d": (1.0, "contact", ""), "missed_90d": (1.0, "appointment", ""), "dialog_mean": (1.0, "point", ""),
})  # fmt: skip


def fairness_cells(study: Study, horizon: HorizonStudy, kind: RiskKind) -> tuple[dict[str, list[Cell]], Named]:
    """Tables `risk_groups`, `risk_group_threshold`, `risk_group_gap`, `risk_group_equality`, `risk_group_conflict` and
    `risk_group_curve` on later discharges. The threshold is the middle one of the shares that a team could look at."""
    asked, later = asked_model(study), horizon.split.validation
    wanted = later.groups[list(asked.groups)]
    if wanted.shape[1] == 0:
        return {}, []
    sample = build_group_sample(
        horizon.developed[kind].validation, replace(later, groups=wanted), replicates=asked.replicates,
        rng=study.rng("risk groups"),
    )  # fmt: skip
    found = estimate_group_performance(sample, level=study.level)
    shares = sorted(asked.flagged_shares)
    rates = estimate_group_threshold(sample, FlagRule("share", shares[len(shares) // 2]), level=study.level)
    gaps = (*estimate_group_gaps(found), *estimate_group_gaps(rates))
    conflicts = describe_conflicts(sample, rates)
    tables = {
        "risk_groups": group_cells(found),
        "risk_group_threshold": group_threshold_cells(rates),
        "risk_group_gap": group_gap_cells(gaps),
        "risk_group_equality": group_equality_cells(gaps),
        "risk_group_conflict": group_conflict_cells(conflicts),
        "risk_group_curve": group_curve_cells(fit_group_curves(sample, level=study.level)),
    }
    checks = [("groups", check) for check in (*found.checks, *rates.checks, *conflict_checks(conflicts))]
    return {name: list(cells) for name, cells in tables.items()}, checks


def term_cells(study: Study, horizon: HorizonStudy, kind: RiskKind) -> tuple[list[Cell], Named]:
    """Table `risk_terms`: odds ratios in development."""
    model, data = horizon.developed[kind].model, horizon.split.development
    own = data.with_features(data.features[[c.name for c in model.columns]])
    penalty = float(model.options.penalty) if kind == "logistic" else 0.0
    options = OddsRatioOptions(penalty=penalty, level=study.level)
    terms = estimate_odds_ratios(own, words=_words(model), options=options)
    return list(risk_term_cells(terms)), [(kind, check) for check in terms.checks]


def importance_cells(study: Study, horizon: HorizonStudy, kind: RiskKind) -> tuple[dict[str, list[Cell]], Named]:
    """Tables `risk_importance` and `risk_dependence`, on later discharges."""
    asked, model, data = asked_model(study), horizon.developed[kind].model, horizon.split.validation
    later, words = data.with_features(data.features[[c.name for c in model.columns]]), _words(model)

    def predict(features: object) -> np.ndarray:
        return predict_risk(model, features, on_unseen="pool")

    counts = draw_person_counts(later.person, replicates=asked.replicates, rng=study.rng("risk importance draws"))
    importance = estimate_importance(predict, later, counts=counts, rng=study.rng("risk importance"))
    dependence = [estimate_dependence(predict, later, name) for name in later.features]
    tables = {
        "risk_importance": list(risk_importance_cells(importance, model=kind, words=words)),
        "risk_dependence": list(risk_dependence_cells(dependence, words=words)),
    }
    checks = [*importance.checks, *(check for one in dependence for check in one.checks)]
    return tables, [(kind, check) for check in checks]


def _words(model: RiskModel) -> dict[str, TermWords]:
    return {c.name: TermWords(PREDICTOR_LABELS[c.name], *_STEPS.get(c.name, ())) for c in model.columns}
