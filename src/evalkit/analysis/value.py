"""What a pound bought: differences in cost and in what people value, drawn together, with prices uncertain too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.analysis.cost_few import is_thin_anywhere
from evalkit.analysis.cost_study import FEW_PEOPLE, ROUNDED_TO, CostStudy, discount_parts, total_shares
from evalkit.analysis.costs import CostFindings
from evalkit.analysis.study import Study
from evalkit.cohort.price_list import build_price_list
from evalkit.cohort.valued import build_valued_scores
from evalkit.core.economics import Valued, ValuedScore
from evalkit.core.errors import Fault, NotEstimable
from evalkit.economics.draws import Psa
from evalkit.economics.sensitivity import Uncertain, compute_one_way, draw_values
from evalkit.estimators.costs.cells import (
    CellMeans,
    CostColumns,
    compute_additive_effect,
    compute_cell_means,
    compute_proportional_effect,
)

WITH, WITHOUT = "with the service", "without the service"
# Which prices a part is made of: where one of them was not verified, the part is uncertain.
_PRICES = {
    "wards": "ward_day.", "placements": "placement_week.", "contacts": "contact", "programme": "programme_week.",
    "housing": "housing_week.",
}  # fmt: skip
THRESHOLDS = 11


@dataclass(frozen=True)
class ValueDraws:
    """Draws of what is gained and spent per person and quarter for one thing that people value, or why there are none.

    `recorded_share`: of the treated, how many have the outcome before and after, both to the nearest five; 1 for days.
    `n_people`: the treated who are counted.
    """

    valued: Valued
    psa: Psa | None
    n_people: int
    recorded_share: float = 1.0
    reason: str = ""

    @property
    def thresholds_gbp(self) -> np.ndarray:
        return np.linspace(0.0, self.valued.max_threshold_gbp, THRESHOLDS)

    @property
    def unit(self) -> str:
        """What one unit of effect is."""
        return "QALY" if isinstance(self.valued, ValuedScore) and self.valued.is_qaly else self.valued.unit


def find_value(study: Study, findings: CostFindings) -> list[ValueDraws]:
    """Draws for everything that the protocol values; refusals in their place."""
    found = []
    for valued in study.protocol.economics.valued:
        try:
            found.append(_draw(study, findings, valued))
        except NotEstimable as refusal:
            people = int(findings.found.treated.sum())
            found.append(ValueDraws(valued, None, people, reason=refusal.reason))
    return found


def _draw(study: Study, findings: CostFindings, valued: Valued) -> ValueDraws:
    name = f"discounted_days.{valued.key}"
    if valued.kind == "days" and findings.found.no_days:
        raise NotEstimable(Fault(valued.key, findings.found.no_days))
    if valued.kind == "days" and is_thin_anywhere(findings.found, findings.found.valued[valued.key]):
        text = "on one side, before or after, fewer than 10 people have such days, or one has most of them"
        raise NotEstimable(Fault(valued.key, text))
    if valued.kind == "days":
        means, share, people = findings.means, 1.0, int(findings.found.treated.sum())
    else:
        means, share, people = _score_means(study, findings.found, valued)
        name = "score"
    rng = study.rng(f"{findings.found.outcome.key}.value.{valued.key}")
    psa = _draw_psa(study, findings.found, means, name, valued, rng)
    return ValueDraws(valued, psa, people, share)


def _score_means(study: Study, found: CostStudy, valued: ValuedScore) -> tuple[CellMeans, float, int]:
    """Means of cost and score among those who answered before and after, drawn together."""
    starts, ends = found.costs.starts, found.costs.ends
    windows = [(starts[when][0], ends[when][-1]) for when in (found.before, found.after)]
    before, after = build_valued_scores(
        study.tables, valued, found.people["person_id"], before=windows[0], after=windows[1]
    )
    kept = np.isfinite(before) & np.isfinite(after)
    for side in (found.treated, ~found.treated):
        if 0 < (~kept[side]).sum() < FEW_PEOPLE:
            raise NotEstimable(
                Fault("assessments", "almost everybody has an answer: numbers of those who do, beside those of all, "
                      "would tell of the few who do not",
                      f"fewer than {FEW_PEOPLE} do not", f"none, or {FEW_PEOPLE} or more")
            )  # fmt: skip
    told = [round(int(n) / ROUNDED_TO) * ROUNDED_TO for n in (kept[found.treated].sum(), found.treated.sum())]
    share = told[0] / told[1]  # of the exact numbers it would tell both, at four digits
    worth = found.discount[found.after].mean()
    both = discount_parts(found) | {"score": (worth * before, worth * after)}
    sides = [np.column_stack([pair[side] for pair in both.values()])[kept] for side in (0, 1)]
    columns = CostColumns(sides[0], sides[1], tuple(both), found.treated[kept], found.covariates[kept])
    rng = study.rng(f"{found.outcome.key}.score.{valued.key}")
    means = compute_cell_means(columns, replicates=study.protocol.economics.bootstrap_replicates, rng=rng)
    return means, share, int(found.treated[kept].sum())


def _draw_psa(
    study: Study, found: CostStudy, means: CellMeans, effect: str, valued: Valued, rng: np.random.Generator
) -> Psa:
    """Draws of people and of unverified prices, each price a factor of mean 1 on its part of the cost.

    Cost is that of `compute_proportional_effect` and effect that of `compute_additive_effect` in the same draw.
    """
    economics, n = study.protocol.economics, study.protocol.economics.psa_draws
    unsure = {name: Uncertain("gamma", 1.0, economics.price_sd) for name in _unverified(study, found)}
    draw = rng.integers(1, len(means.values), size=n)
    factors = draw_values(unsure, n, rng=rng) if unsure else pd.DataFrame(index=range(n))
    cells, plain = np.zeros((n, 4)), np.zeros((n, 4))
    for name in found.costs.parts:
        part = means.pick({f"discounted.{name}": 1.0})[draw]
        plain += part
        cells += part * (factors[name].to_numpy()[:, None] if name in unsure else 1.0)
    cost = compute_proportional_effect(np.vstack([cells.mean(axis=0), cells])).difference_draws
    use = compute_proportional_effect(np.vstack([plain.mean(axis=0), plain])).difference_draws
    gained = compute_additive_effect(means.pick({effect: 1.0})[np.concatenate([[0], draw])]).difference_draws
    if np.ptp(gained) == 0:
        raise NotEstimable(Fault(valued.key, "nobody differs in it, so that nothing can be compared"))
    parameters = factors.rename(columns=lambda name: f"price of {name}").assign(use=use, effect=gained)
    return Psa.from_differences(cost, gained, effect_unit=valued.unit, names=(WITHOUT, WITH), parameters=parameters)


def _unverified(study: Study, found: CostStudy) -> list[str]:
    rows = build_price_list(study.tables, study.protocol).rows
    open_ = set(rows.loc[~rows["verified"].astype(bool), "resource"])
    return [name for name in found.costs.parts if any(r.startswith(_PRICES[name]) for r in open_)]


def compute_tornado(study: Study, findings: CostFindings) -> pd.DataFrame:
    """The effect on cost with one price at a time lower and higher, GBP per person-quarter, as `compute_one_way`."""
    economics, means = study.protocol.economics, findings.means
    shares = total_shares(findings.found)

    def effect(factors: dict[str, float]) -> float:
        mix = {name: share * factors[name] * factors["all prices"] for name, share in shares.items()}
        return compute_proportional_effect(means.pick(mix)[:2]).difference

    base = dict.fromkeys([*shares, "all prices"], 1.0)
    ends = (1 - economics.price_change, 1 + economics.price_change)
    ranges = dict.fromkeys(base, ends)
    if "part.programme" in shares:
        ranges["part.programme"] = (0.0, ends[1])
    return compute_one_way(effect, base, ranges)
