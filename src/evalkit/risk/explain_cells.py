"""Odds ratios, importance and dependence as cells of the results tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from evalkit.core.result import Cell
from evalkit.risk.explain import Dependence, Importance
from evalkit.risk.explain_terms import OddsRatios
from evalkit.risk.explain_words import TermWords, refuse_causal_words


def risk_term_cells(found: OddsRatios) -> tuple[Cell, ...]:
    """Table `risk_terms`: row the term, column `odds_ratio`, label in words with the unit."""
    return tuple(
        Cell(
            term.name, "odds_ratio", float(ratio), "statistic", unit="ratio", lower=float(low), upper=float(high),
            level=found.options.level, n_people=term.n_people, n_events=term.n_events, label=term.label,
            status="not_estimable" if term.refusal else "shown", reason=term.refusal,
        )
        for term, ratio, low, high in zip(found.terms, found.ratios, found.lower, found.upper, strict=True)
    )  # fmt: skip


def risk_importance_cells(
    found: Importance, *, model: str, words: Mapping[str, TermWords] | None = None
) -> tuple[Cell, ...]:
    """Table `risk_importance`: row "{model}|{predictor}", most important first; columns auroc_drop, log_loss_rise."""
    cells = []
    for i in sorted(range(len(found.names)), key=lambda i: -found.auroc_drop[i]):
        name = found.names[i]
        for column, value, low, high in (
            ("auroc_drop", found.auroc_drop[i], found.auroc_lower[i], found.auroc_upper[i]),
            ("log_loss_rise", found.log_loss_rise[i], found.log_loss_lower[i], found.log_loss_upper[i]),
        ):
            undefined = math.isnan(value)
            cells.append(
                Cell(
                    f"{model}|{name}", column, float(value), "statistic", lower=float(low), upper=float(high),
                    level=found.level, n_people=found.n_people, n_events=found.n_events, label=_label(name, words),
                    status="not_estimable" if undefined else "shown",
                    reason="Risks of 0 or 1 make the log loss infinite." if undefined else "",
                )
            )  # fmt: skip
    return tuple(cells)


def risk_dependence_cells(
    found: Sequence[Dependence], *, words: Mapping[str, TermWords] | None = None
) -> tuple[Cell, ...]:
    """Table `risk_dependence`: row "{predictor}|{value}"; columns `risk` and `share` of discharges near the value.

    Points with too few people near are left out: the very name of the row would tell what one of them has.
    """
    cells = []
    for one in found:
        for value, risk, share, reason in zip(one.values, one.risk, one.share, one.reasons, strict=True):
            if reason:
                continue
            shared = {"n_people": one.n_people, "n_events": one.n_events, "label": _label(one.predictor, words)}
            cells.append(Cell(f"{one.predictor}|{value}", "risk", risk, "statistic", unit="risk (0 to 1)", **shared))
            cells.append(Cell(f"{one.predictor}|{value}", "share", share, "statistic", **shared))
    return tuple(cells)


def _label(name: str, words: Mapping[str, TermWords] | None) -> str:
    label = words[name].label if words and name in words else name.replace("_", " ").capitalize()
    refuse_causal_words([label])
    return label
