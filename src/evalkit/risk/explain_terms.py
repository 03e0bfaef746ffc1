"""Coefficients of a logistic model as odds ratios per meaningful unit, with intervals clustered by person."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import choice_faults, is_finite, level_faults, refuse
from evalkit.core.result import Check
from evalkit.estimators.people.logistic import add_intercept, fit_logistic
from evalkit.risk.arrays import FEWEST_EVENTS
from evalkit.risk.data import MISSING_LEVEL, NOT_RECORDED, RiskData, as_levels, as_numbers, column_type
from evalkit.risk.explain_words import TermWords, refuse_causal_words
from evalkit.risk.fairness import FEWEST_PEOPLE, compute_draw_errors
from evalkit.risk.prepare import RARE_LEVEL_SHARE
from evalkit.risk.ridge import fit_ridge_draws

RARE_LEVELS = "rare levels together"
_YES_NO = {"True": "yes", "False": "no"}


@dataclass(frozen=True)
class OddsRatioOptions:
    """`penalty` as in `fit_ridge` (0: maximum likelihood); `interval` from the sandwich by person or the bootstrap.

    Levels of a category that fewer than `rare_share` of the discharges have are joined.
    """

    penalty: float = 0.0
    interval: Literal["sandwich", "bootstrap"] = "sandwich"
    level: float = 0.95
    rare_share: float = RARE_LEVEL_SHARE

    def __post_init__(self) -> None:
        faults = choice_faults("OddsRatioOptions interval", self.interval, ("sandwich", "bootstrap"))
        if not (is_finite(self.penalty) and self.penalty >= 0):
            faults.append(Fault("OddsRatioOptions penalty", "is out of range", str(self.penalty), "0 or more"))
        if not (is_finite(self.rare_share) and 0 <= self.rare_share < 1):
            faults.append(Fault("OddsRatioOptions rare_share", "is out of range", str(self.rare_share), "0 to below 1"))
        refuse([*faults, *level_faults(self.level)])


@dataclass(frozen=True)
class Term:
    """One coefficient: a number per `unit`, or `level` of a category against `reference`; `label` says it in words."""

    name: str
    predictor: str
    label: str
    unit: float
    level: str
    reference: str
    n_people: int
    n_events: int
    refusal: str


@dataclass(frozen=True, eq=False)
class OddsRatios:
    """Odds ratios (k,) of `terms`, interval ends (k,), errors of their logs (k,), and draws of the logs (B, k) or None.

    Terms that hold too few people or outcomes are NaN, with the reason in `terms[i].refusal`.
    """

    terms: tuple[Term, ...]
    ratios: np.ndarray
    log_se: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    draws: np.ndarray | None
    options: OddsRatioOptions
    checks: tuple[Check, ...]


def estimate_odds_ratios(
    data: RiskData,
    *,
    words: Mapping[str, TermWords] | None = None,
    references: Mapping[str, str] | None = None,
    counts: np.ndarray | None = None,
    options: OddsRatioOptions = OddsRatioOptions(),
) -> OddsRatios:
    r"""Odds ratios of a logistic model of `data.outcome` on all of `data.features`.

    Numbers: per unit of `words`; missing ones are the median, and a term says that they are not recorded. Categories:
    each level against that of `references`, else the most frequent; missing is the level "not recorded".

    Maximum likelihood where `penalty` is 0. Else ridge over standardised columns, one a level, and a level's odds
    ratio is \(\exp(\beta_{level} - \beta_{reference})\). The sandwich is \(H^{-1} M H^{-1}\), H the curvature with
    the penalty \(\lambda\, sd_j^2\), M the sum over people of squared (centred) scores times G / (G - 1) (Liang and
    Zeger 1986, Biometrika 73:13). "bootstrap" takes the standard deviation over `counts` (B, n). Under a penalty both
    are of the penalised coefficient: they leave out how far it was pulled towards 1, so that they do not hold the
    unpenalised odds ratio at their level.

    Fails with `ParameterError` for unknown predictors or levels, labels that speak of cause, and "bootstrap" without
    counts; with `NotEstimable` where columns are combinations of others, the outcomes are separated, or fewer than 10
    discharges are in the rarer class.
    """
    _refuse(data, words or {}, references or {}, counts, options)
    design, terms, contrast = _build_terms(data, words or {}, references or {}, options)
    names = [f"{t.predictor} {t.level}".strip() for t in terms]
    weights = np.ones((1, len(data)), dtype=np.uint16)
    drawn = None
    if options.penalty == 0:
        base = fit_logistic(add_intercept(design), data.outcome.astype(float), names=["intercept", *names])
    else:
        base = _ridge(design, data.outcome, options.penalty, weights)[0]
    logs = contrast @ base[1:]
    if options.interval == "bootstrap":
        drawn = _ridge(design, data.outcome, options.penalty, counts)[:, 1:] @ contrast.T
        se = compute_draw_errors(drawn[:, None, :], np.full((1, len(logs)), data.n_people))[0]
    else:
        se = np.sqrt(np.einsum("ij,jk,ik->i", contrast, _sandwich(design, data, base, options.penalty), contrast))
    told = np.array([not term.refusal for term in terms])
    z = float(norm.ppf(0.5 + options.level / 2))
    ends = [np.where(told, np.exp(logs + side * z * se), np.nan) for side in (-1, 1)]
    ratios = np.where(told, np.exp(logs), np.nan)
    return OddsRatios(terms, ratios, np.where(told, se, np.nan), *ends, drawn, options, _checks(terms, se, options))


# ---- terms ---------------------------------------------------------------------------------------


def _build_terms(
    data: RiskData, words: Mapping[str, TermWords], references: Mapping[str, str], options: OddsRatioOptions
) -> tuple[np.ndarray, tuple[Term, ...], np.ndarray]:
    """Design (n, q), terms (k) and contrasts (k, q); under a penalty a category's reference has a column too."""
    columns: list[np.ndarray] = []
    terms: list[Term] = []
    rows: list[dict[int, float]] = []
    for name in data.features:
        said = words.get(name, TermWords(name.replace("_", " ").capitalize()))
        values = data.features[name]
        if column_type(values) == "number":
            _add_number(data, name, as_numbers(values), said, columns, terms, rows)
        else:
            _add_category(data, name, values, (said, references.get(name), options), columns, terms, rows)
    contrast = np.zeros((len(terms), len(columns)))
    for i, row in enumerate(rows):
        for j, weight in row.items():
            contrast[i, j] = weight
    return np.column_stack(columns), tuple(terms), contrast


def _add_number(
    data: RiskData,
    name: str,
    values: np.ndarray,
    said: TermWords,
    columns: list[np.ndarray],
    terms: list[Term],
    rows: list[dict[int, float]],
) -> None:
    missing = np.isnan(values)
    if missing.all() or len(np.unique(values[~missing])) < 2:
        raise NotEstimable(Fault(f'predictor "{name}"', "is the same for all", next_step="Leave it out."))
    unit = choose_unit(values) if said.unit is None else said.unit
    label = f"{said.label}, per {unit:g}" + (f" {said.unit_words}" if said.unit_words else " more")
    label = f"{said.label}, {said.step}" if said.step else label
    rows.append({len(columns): unit})
    columns.append(np.where(missing, np.median(values[~missing]), values))
    terms.append(_term(data, ~missing, (name, name, label), unit=unit))
    if missing.any():
        rows.append({len(columns): 1.0})
        columns.append(missing.astype(np.float64))
        label = f"{said.label}: not recorded, against recorded at the median"
        terms.append(_term(data, missing, (f"{name}|{NOT_RECORDED}", name, label), level=NOT_RECORDED))


def _add_category(
    data: RiskData,
    name: str,
    values: pd.Series,
    how: tuple[TermWords, str | None, OddsRatioOptions],
    columns: list[np.ndarray],
    terms: list[Term],
    rows: list[dict[int, float]],
) -> None:
    said, wanted, options = how
    full = options.penalty > 0
    levels = as_levels(values)
    levels = np.where(levels == MISSING_LEVEL, NOT_RECORDED, levels)
    shares = pd.Series(levels).value_counts(normalize=True)
    rare = [level for level in shares.index[shares < options.rare_share] if level != wanted]
    if len(rare) > 1:
        levels = np.where(np.isin(levels, rare), RARE_LEVELS, levels)
    sizes = pd.Series(levels).value_counts()
    if len(sizes) < 2:
        raise NotEstimable(Fault(f'predictor "{name}"', "is the same for all", next_step="Leave it out."))
    reference = wanted if wanted is not None else min(sizes.index[sizes == sizes.max()])
    at = len(columns)
    if full:
        columns.append((levels == reference).astype(np.float64))
    for level in sorted(str(one) for one in sizes.index if one != reference):
        rows.append({len(columns): 1.0} | ({at: -1.0} if full else {}))
        columns.append((levels == level).astype(np.float64))
        label = f"{said.label}: {_YES_NO.get(level, level)}, against {_YES_NO.get(reference, reference)}"
        held = (f"{name}|{level}", name, label)
        terms.append(_term(data, levels == level, held, level=level, reference=reference))


def _term(
    data: RiskData,
    rows: np.ndarray,
    names: tuple[str, str, str],
    *,
    unit: float = 1.0,
    level: str = "",
    reference: str = "",
) -> Term:
    people, events = len(np.unique(data.person[rows])), int(data.outcome[rows].sum())
    few = people < FEWEST_PEOPLE or min(events, int(rows.sum()) - events) < FEWEST_EVENTS
    refusal = f'"{names[2]}": too few people or outcomes stand behind it (fewer than {FEWEST_EVENTS}).' if few else ""
    return Term(*names, unit, level, reference, people, events, refusal)


def choose_unit(values: np.ndarray) -> float:
    """A round step (1, 2 or 5 times a power of ten) at or below the interquartile range of `values`, missing left out.

    The standard deviation where that range is 0; whole numbers get a step of 1 or more.
    """
    held = values[np.isfinite(values)]
    width = float(np.subtract(*np.quantile(held, [0.75, 0.25]))) or float(held.std())
    if not width > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(width) + 1e-9)
    unit = max(step for step in (1.0, 2.0, 5.0) if step == 1.0 or step * power <= width * (1 + 1e-9)) * power
    return max(unit, 1.0) if np.all(held == np.round(held)) else unit


# ---- errors --------------------------------------------------------------------------------------


def _ridge(design: np.ndarray, outcome: np.ndarray, penalty: float, weights: np.ndarray) -> np.ndarray:
    found = fit_ridge_draws(design, outcome, penalty=penalty, counts=weights)
    if np.isnan(found.coefficients).all():
        raise NotEstimable(Fault("odds ratios", found.reasons[0]))
    return found.coefficients


def _sandwich(design: np.ndarray, data: RiskData, base: np.ndarray, penalty: float) -> np.ndarray:
    """Covariance (q, q) of the slopes, summed by person."""
    x = add_intercept(design)
    risk = expit(x @ base)
    curvature = x.T @ (x * (risk * (1 - risk))[:, None])
    curvature[np.diag_indices(len(base))] += np.r_[0.0, penalty * design.var(axis=0)]
    codes = pd.factorize(data.person)[0]
    scores = x * (data.outcome - risk)[:, None]
    summed = np.column_stack([np.bincount(codes, column) for column in scores.T])
    summed -= summed.mean(axis=0)
    bread = np.linalg.inv(curvature)
    people = len(summed)
    return (people / (people - 1) * bread @ (summed.T @ summed) @ bread)[1:, 1:]


def _checks(terms: tuple[Term, ...], se: np.ndarray, options: OddsRatioOptions) -> tuple[Check, ...]:
    small = [term.label for term in terms if term.refusal]
    unsure = [t.label for t, e in zip(terms, se, strict=True) if not t.refusal and not np.isfinite(e)]
    penalised = (
        "Odds ratios are pulled towards 1 by the penalty, and their intervals are of the pulled ones: they do not hold "
        "the unpenalised odds ratio at their level."
    )
    clustered = "Odds ratios are by maximum likelihood, with intervals that allow for repeats of a person."
    told = "Each term has enough people and outcomes."
    return (
        Check("odds_ratio_interval", None, options.penalty, penalised if options.penalty > 0 else clustered),
        Check(
            "odds_ratio_terms", not small, float(len(small)), f"Too few behind: {'; '.join(small)}." if small else told
        ),
        Check(
            "odds_ratio_draws", not unsure, float(len(unsure)),
            f"Too few draws of people could be fitted: {'; '.join(unsure)}." if unsure else "Each has an interval.",
        ),
        Check(
            "odds_ratio_words", None, 0.0,
            "Odds ratios say what goes with readmission when the other predictors are alike; they are no effects.",
        ),
    )  # fmt: skip


def _refuse(
    data: RiskData,
    words: Mapping[str, TermWords],
    references: Mapping[str, str],
    counts: np.ndarray | None,
    options: OddsRatioOptions,
) -> None:
    known = [str(name) for name in data.features]
    faults = [
        Fault(f"odds ratios {what}", "names no predictor", name, ", ".join(known))
        for what, given in (("words", words), ("references", references))
        for name in given
        if name not in known
    ]
    for name, level in references.items():
        held = set(as_levels(data.features[name])) if name in known else {level}
        if level not in {NOT_RECORDED if one == MISSING_LEVEL else one for one in held}:
            faults.append(Fault(f'reference of "{name}"', "is no level of it", level, ", ".join(sorted(held)[:20])))
    if options.interval == "bootstrap" and (counts is None or np.shape(counts)[1:] != (len(data),)):
        faults.append(Fault("odds ratios counts", "are missing or do not fit", next_step="Use draw_person_counts"))
    refuse(faults)
    refuse_causal_words(said.label for said in words.values())
    if min(data.n_events, len(data) - data.n_events) < FEWEST_EVENTS:
        raise NotEstimable(
            Fault("odds ratios", "too few discharges with the outcome, or without it", f"fewer than {FEWEST_EVENTS}")
        )
