"""The cohort at go-live with what each person cost and gained, laid out as columns that share one bootstrap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.analysis.study import Study
from evalkit.cohort.cohort import build_cohort
from evalkit.cohort.cost_history import CostHistory
from evalkit.cohort.costs import PersonCosts, build_costs
from evalkit.cohort.features import PERSON_FEATURES, derive_person_features
from evalkit.cohort.residence import COMPARATORS, derive_residence, followed_until
from evalkit.cohort.valued import build_valued_days
from evalkit.core.dates import as_days
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.outcomes import CostOutcome
from evalkit.core.prices import discount_factors, financial_year, whole_years_since
from evalkit.estimators.costs.cells import CellMeans, CostColumns, compute_cell_means
from evalkit.estimators.costs.censored_weights import compute_stay_weights
from evalkit.estimators.costs.log_link_did import CostData

FEW_PEOPLE = 10  # of fewer nothing is told, nor of two groups that differ by fewer
ROUNDED_TO = 5  # numbers of people that another number would be worked out from
STRADDLE = "periods counted from it straddle financial years, which are those of budgets"
QUARTERS = {"quarter": 1.0, "year": 4.0}  # of a period of the study: every number is per person and quarter


@dataclass(frozen=True)
class CostStudy:
    """Costs of the cohort, days that people value, and which periods lie before and after.

    `people`: one row a person with `person_id`, `group` and the features that are balanced, the days from adoption for
    which they were followed (`followed_days`) and whether that was to death or to the end (`complete`). `valued`:
    key -> days, (n, T), or `no_days` says why there are none. `discount` (T,): what a pound of each period was worth at
    adoption; `since` (T,): days from adoption to the end of each.
    """

    outcome: CostOutcome
    costs: PersonCosts
    valued: Mapping[str, np.ndarray]
    people: pd.DataFrame
    before: np.ndarray
    after: np.ndarray
    discount: np.ndarray
    since: np.ndarray
    no_days: str = ""

    @property
    def treated(self) -> np.ndarray:
        return (self.people["group"] != COMPARATORS).to_numpy()

    @property
    def covariates(self) -> pd.DataFrame:
        return self.people[list(PERSON_FEATURES)]

    @property
    def years(self) -> np.ndarray:
        """The financial year of each period, by its first calendar year."""
        return financial_year(self.costs.starts)

    def years_after(self) -> dict[int, np.ndarray]:
        """Which periods after adoption lie in each financial year, in order; none where periods straddle two years."""
        if (self.years != financial_year(self.costs.ends - 1)).any():
            return {}
        return {int(y): self.after & (self.years == y) for y in np.unique(self.years[self.after])}

    def data(self) -> CostData:
        """Mean cost per quarter before and after, with what the weights balance."""
        total = self.costs.total
        return CostData(total[:, self.before].mean(axis=1), total[:, self.after].mean(axis=1), self.treated,
                        self.covariates)  # fmt: skip


def build_cost_study(study: Study, outcome: CostOutcome) -> CostStudy:
    """The cohort at go-live with its cost per person and period.

    Raises NotEstimable where there is no adoption date, no comparison area or nothing to price.
    """
    dates, economics = study.protocol.dates, study.protocol.economics
    if dates.adoption is None or study.protocol.exposure.by != "area" or not study.protocol.areas.comparators:
        raise NotEstimable(
            Fault(
                "protocol", "costs need exposure by area, one adoption date and a comparison area with people's records"
            )
        )
    if not study.tables.has("people"):
        raise NotEstimable(Fault("tables", "there is no table people"))
    cohort = build_cohort(study.tables, study.protocol)
    people = cohort.people.drop(columns="age_years")
    adoption = np.datetime64(dates.adoption, "D")
    day = np.full(len(people), adoption)
    until = followed_until(derive_residence(study.tables, study.protocol), people["person_id"], day)
    death = as_days(people["death_date"])
    features = derive_person_features(people, day)
    people = people[["person_id", "group"]].assign(followed_days=np.maximum((until - day).astype(np.int64), 1))
    quarters = QUARTERS[dates.period]
    costs = build_costs(study.tables, study.protocol, outcome, people["person_id"]).spread_over(quarters)
    people = people.assign(complete=(until >= costs.ends[-1]) | (~np.isnat(death) & (until >= death))).join(features)
    before = costs.starts >= np.datetime64(dates.baseline.start)
    before &= costs.ends <= np.datetime64(dates.baseline.end)
    after = costs.starts >= adoption
    if not (before.any() and after.any()):
        raise NotEstimable(Fault("dates", "no whole period lies in the baseline, or none after adoption"))
    valued, no_days = _lay_out_days(study, people["person_id"], costs, quarters)
    discount = discount_factors(whole_years_since(dates.adoption, costs.starts), economics.discount_rate)
    since = (costs.ends - adoption).astype(np.int64)
    return CostStudy(outcome, costs, valued, people, before, after, discount, since, no_days)


def _lay_out_days(
    study: Study, person_id: pd.Series, costs: PersonCosts, quarters: float
) -> tuple[dict[str, np.ndarray], str]:
    """Days that people value per quarter by key, and why there are none."""
    wanted = tuple(v for v in study.protocol.economics.valued if v.kind == "days")
    if not wanted:
        return {}, ""
    try:
        found = build_valued_days(study.tables, study.protocol, wanted, person_id, starts=costs.starts, ends=costs.ends)
    except NotEstimable as refusal:
        return {}, refusal.reason
    return {key: days / quarters for key, days in found.items()}, ""


def weigh_stay(found: CostStudy) -> tuple[np.ndarray | None, str]:
    """One over the probability of being followed still, by group, in each period after adoption; 0 where unseen.

    Shape (n, periods after); or None and why: few left, or nobody in a group is followed to the end.
    """
    left = ~found.people["complete"].to_numpy()
    if any(left[rows].sum() < FEW_PEOPLE for rows in (found.treated, ~found.treated)):
        # Beside the unweighted mean, the weighted one would tell how many left, and that nobody did.
        return None, f"Fewer than {FEW_PEOPLE} people moved away on one side: they are not weighted for."
    bounds = np.concatenate([[0], found.since[found.after]])
    people = found.people.assign(treated=found.treated.astype(int))
    nothing = np.zeros((len(people), len(bounds) - 1))
    history = CostHistory.from_periods(
        people, nothing, bounds_days=bounds, follow_up="followed_days", complete="complete", group="treated",
        stratum="treated",
    )  # fmt: skip
    try:
        return compute_stay_weights(history, bounds_days=bounds).weights, ""
    except NotEstimable as refusal:
        return None, refusal.reason


def lay_out_columns(found: CostStudy) -> CostColumns:
    """Every quantity of which a mean is wanted, before and after, per person and quarter.

    `part.<name>` at prices paid and `discounted.<name>`; `standard_placements` and `nhs_placements`; `housing` where
    priced; cost in one financial year after adoption against the whole baseline, of all (`year.<year>`), of the NHS
    (`year_nhs`), of the council (`year_council`) and of other services than the programme (`year_rest`); `days.<key>`
    and `discounted_days.<key>`.
    """
    costs, columns = found.costs, {f"part.{name}": cost for name, cost in found.costs.parts.items()}
    columns |= {"standard_placements": costs.standard_placements, "nhs_placements": costs.nhs_placements}
    if costs.housing is not None and "housing" not in costs.parts:
        columns["housing"] = costs.housing
    columns |= {f"days.{key}": days for key, days in found.valued.items()}
    both = {name: (c[:, found.before].mean(axis=1), c[:, found.after].mean(axis=1)) for name, c in columns.items()}
    both |= discount_parts(found)
    worth = found.discount[found.after].mean()
    both |= {
        f"discounted_days.{key}": (worth * days[:, found.before].mean(axis=1),
                                   (days * found.discount)[:, found.after].mean(axis=1))
        for key, days in found.valued.items()
    }  # fmt: skip
    rest = costs.total - costs.parts.get("programme", 0.0)
    kinds = {"year": costs.total, "year_nhs": costs.nhs, "year_council": costs.local_authority, "year_rest": rest}
    for kind, cost in kinds.items():
        base = cost[:, found.before].mean(axis=1)
        both |= {f"{kind}.{year}": (base, cost[:, within].mean(axis=1)) for year, within in found.years_after().items()}
    weights, _ = weigh_stay(found)
    if weights is not None:
        later = weights * costs.total[:, found.after]
        both["stayed"] = (costs.total[:, found.before].mean(axis=1), later.mean(axis=1))
    before, after = (np.column_stack([pair[side] for pair in both.values()]) for side in (0, 1))
    return CostColumns(before, after, tuple(both), found.treated, found.covariates)


def discount_parts(found: CostStudy) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Cost of each part before, and after as it was worth at adoption, as columns `discounted.<name>`.

    What lies before needs no discount, since its level cancels from a trend in proportion. Days and scores, which are
    compared in differences, need that of the time after: groups apart from the start would else seem to close up.
    """
    return {
        f"discounted.{name}": (cost[:, found.before].mean(axis=1), (cost * found.discount)[:, found.after].mean(axis=1))
        for name, cost in found.costs.parts.items()
    }


def compute_means(study: Study, found: CostStudy) -> CellMeans:
    """Means of all columns under one set of draws of people, from the outcome's own generator."""
    replicates = study.protocol.economics.bootstrap_replicates
    return compute_cell_means(lay_out_columns(found), replicates=replicates, rng=study.rng(found.outcome.key))


def total_shares(found: CostStudy) -> dict[str, float]:
    """The columns that add up to the total."""
    return {f"part.{name}": 1.0 for name in found.costs.parts}


def nhs_shares(found: CostStudy) -> dict[str, float]:
    """The columns that add up to what the NHS bears."""
    own = {f"part.{name}": 1.0 for name in ("wards", "contacts") if name in found.costs.parts}
    if "programme" in found.costs.parts:
        own["part.programme"] = found.costs.joint_nhs_share
    return own | {"nhs_placements": 1.0}


def council_shares(found: CostStudy) -> dict[str, float]:
    """The columns that add up to what the council bears."""
    rest = {name: share for name, share in total_shares(found).items() if name != "part.housing"}
    for name, share in nhs_shares(found).items():
        rest[name] = rest.get(name, 0.0) - share
    return rest
