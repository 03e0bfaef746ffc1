"""Discharges for the risk models: what was known at each, and what came first within a horizon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.analysis.study import Study
from evalkit.cohort.discharges import build_discharges
from evalkit.cohort.predictors import Predictors, derive_predictors
from evalkit.cohort.spells import derive_follow_up
from evalkit.core.dates import as_days
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.result import Check
from evalkit.core.sections import RiskModel
from evalkit.risk.data import RiskData


@dataclass(frozen=True, eq=False, repr=False)
class RiskRows:
    """Every eligible discharge of the study's areas or elsewhere in the trust, with its predictors.

    `rows` (n, ...) as `build_discharges` gives them; `predictors` in the same order.
    """

    rows: pd.DataFrame
    predictors: Predictors

    def __repr__(self) -> str:
        return f"RiskRows(predictors={list(self.predictors.features)})"


@contextmanager
def refusing() -> Iterator[None]:
    """What the risk functions refuse as a parameter is here a fact of the data: NotEstimable, for the same reasons."""
    try:
        yield
    except ParameterError as refusal:
        raise NotEstimable(refusal.faults) from None


def asked_model(study: Study) -> RiskModel:
    """What the protocol asks for; raises NotEstimable where it asks for no risk model."""
    asked = study.protocol.risk_model
    if asked is None or not study.protocol.outcomes_of("readmission"):
        raise NotEstimable(Fault("protocol", "it asks for no readmission risk model"))
    return asked


def build_risk_rows(study: Study) -> RiskRows:
    """Discharges trust-wide with what was known on the day; raises NotEstimable where there are none."""
    asked = asked_model(study)
    outcome = study.protocol.outcomes_of("readmission")[0]
    rows = build_discharges(study.tables, study.protocol, index_ward_types=outcome.index_ward_types)
    if rows.empty:
        raise NotEstimable(Fault("discharges", "none is eligible"))
    lookback = study.protocol.population.lookback_days
    return RiskRows(
        rows, derive_predictors(rows, study.tables, predictors=asked.predictors, lookback_days=lookback)
    )  # fmt: skip


def build_risk_data(study: Study, found: RiskRows, *, horizon_days: int) -> tuple[RiskData, tuple[Check, ...]]:
    """Every discharge followed to the horizon, or to death, and a check of how many were not.

    A death within the horizon before any readmission counts as not readmitted: death competes. Whether follow-up
    reaches the horizon is read from who was followed how long, never from what was seen on the way, so that those who
    came back are not kept more often than those who did not.

    Raises NotEstimable where no discharge was followed to the horizon.
    """
    rows = found.rows
    horizon = np.timedelta64(horizon_days, "D")
    in_time = as_days(rows["discharge"]) <= np.datetime64(study.protocol.dates.end, "D") - horizon
    death, whole = as_days(rows["death"]), as_days(rows["discharge"]) + horizon
    # Somebody who died early was followed long enough if followed to that day; who moved away before it was not.
    needed = np.where(np.isnat(death), whole, np.minimum(death, whole))
    keep = in_time & (as_days(rows["followed_until"]) >= needed)
    if not keep.any():
        raise NotEstimable(Fault("discharges", f"none was followed for {horizon_days} days"))
    kept = rows[keep].reset_index(drop=True)
    follow_up = derive_follow_up(
        kept, death=as_days(kept["death"]), censor=as_days(kept["followed_until"]), horizon_days=horizon_days
    )
    event = follow_up["event"].to_numpy(dtype=np.int64)
    known = found.predictors
    data = RiskData(
        features=known.features[keep],
        outcome=(event == 1).astype(np.int64),
        person=kept["person_id"].to_numpy(),
        time=as_days(kept["discharge"]),
        event=event,
        event_days=follow_up["time_days"].to_numpy(dtype=np.float64),
        groups=known.groups[keep],
        known_on=known.known_on[keep] if len(known.known_on.columns) else None,
    )
    return data, (_follow_up_check(float(1 - keep[in_time].mean())),)


def _follow_up_check(lost: float) -> Check:
    near = round(lost * 20) / 20
    words = "None" if lost == 0 else "Fewer than 5%" if lost < 0.05 else f"About {near:.0%}"
    text = f"{words} of discharges were left out because follow-up ended before the horizon."
    return Check("lost_before_horizon", passed=lost < 0.1, value=near, text=text)
