"""Sample size first, then the models that the discharges can bear, and their risks of later discharges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evalkit.analysis.risk_data import RiskRows, asked_model, build_risk_data, refusing
from evalkit.analysis.study import Study
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.result import Check
from evalkit.core.sections import RiskKind
from evalkit.risk.data import RiskData, Split, split_by_date
from evalkit.risk.model import BOOSTING_HUNGER, MODEL_LABELS, ModelOptions, RiskModel, fit_risk_model, predict_risk
from evalkit.risk.prepare import (
    build_frame,
    build_linear_preparation,
    check_features,
    count_parameters,
    describe_columns,
)
from evalkit.risk.sample_size import JudgedCriterion, SampleVerdict, judge_sample, judge_validation

Named = list[tuple[str, Check]]  # checks, each with the row of what it is of


@dataclass(frozen=True, eq=False, repr=False)
class Developed:
    """A model, the risks that it gives to the discharges of development (n,) and of validation (m,), and how well the
    predictors of the latter fit what it was developed with."""

    model: RiskModel
    development: np.ndarray
    validation: np.ndarray
    input_checks: tuple[Check, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class HorizonStudy:
    """One horizon: its discharges, what they bear, and the models or why there is none."""

    horizon_days: int
    split: Split
    checks: tuple[Check, ...]
    verdicts: Mapping[RiskKind, SampleVerdict]
    validation_size: tuple[JudgedCriterion, ...]
    models: Mapping[RiskKind, Developed | NotEstimable]

    @property
    def developed(self) -> dict[RiskKind, Developed]:
        """The models that there are."""
        return {kind: found for kind, found in self.models.items() if isinstance(found, Developed)}


@refusing()
def develop_models(study: Study, rows: RiskRows, *, horizon_days: int) -> HorizonStudy:
    """Judge the sample for each model that the protocol asks for, and develop those that it bears.

    Raises NotEstimable where no discharge was followed, a part of the split is empty or has one outcome only, or a
    predictor is missing for everybody.
    """
    asked = asked_model(study)
    data, checks = build_risk_data(study, rows, horizon_days=horizon_days)
    split = split_by_date(data, develop_until=asked.develop_until, horizon_days=horizon_days)
    verdicts = {kind: judge_model(split.development, kind, asked.expected_auroc) for kind in asked.models}
    size = judge_validation(split.validation.outcome, split.validation.person, expected_auroc=asked.expected_auroc)
    models: dict[RiskKind, Developed | NotEstimable] = {}
    for kind in asked.models:
        try:
            models[kind] = _develop(study, split, kind, verdicts[kind], horizon_days)
        except NotEstimable as refusal:
            models[kind] = refusal
    checks = (*checks, *split.checks, *_before_service(study))
    return HorizonStudy(horizon_days, split, checks, verdicts, size, models)


def _before_service(study: Study) -> tuple[Check, ...]:
    """Whether development ends before the service begins, which it must not learn from."""
    adoption, until = study.protocol.dates.adoption, asked_model(study).develop_until
    if adoption is None:
        return ()
    before = until <= adoption
    text = "Models were developed before the service began." if before else (
        "Development goes on after the service began, so that what it does is in the models."
    )  # fmt: skip
    return (Check("developed_before_service", passed=before, value=math.nan, text=text),)


def judge_model(data: RiskData, kind: RiskKind, expected_auroc: float) -> SampleVerdict:
    """What these discharges bear; boosting counts `BOOSTING_HUNGER` times the parameters of logistic regression."""
    features = data.features[["prior_admissions"]] if kind == "prior_admissions" else data.features
    columns = describe_columns(features)
    parameters = count_parameters(build_linear_preparation(columns), build_frame(features, columns), columns)
    if kind == "gradient_boosting":
        parameters = math.ceil(parameters * BOOSTING_HUNGER)
    return judge_sample(data.outcome, data.person, parameters=parameters, expected_auroc=expected_auroc)


@refusing()
def _develop(study: Study, split: Split, kind: RiskKind, verdict: SampleVerdict, horizon_days: int) -> Developed:
    asked = asked_model(study)
    if verdict.verdict != "develop":
        step = "Use fewer predictors or more discharges, or recalibrate a model made elsewhere."
        raise NotEstimable(Fault(MODEL_LABELS[kind], verdict.reason.rstrip("."), next_step=step))
    options = ModelOptions(horizon_days=horizon_days, min_events_per_predictor=asked.min_events_per_predictor)
    model = fit_risk_model(split.development, kind=kind, seed=study.protocol.study.seed, options=options)
    risks = (predict_risk(model, part.features, on_unseen="pool") for part in (split.development, split.validation))
    checks = check_features(
        model.columns, split.validation.features, on_unseen="pool", most_outside_share=options.most_outside_share
    )
    return Developed(model, *risks, checks)
