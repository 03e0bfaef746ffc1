"""What people value, beside what it cost: days at home by period, and answers to a questionnaire."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.cohort.pathway import lay_out_days, read_state_intervals, require_state_tables
from evalkit.core.dates import as_days
from evalkit.core.economics import ValuedDays, ValuedScore
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.protocol import Protocol
from evalkit.data.tables import Tables

_LARGEST = 1e100  # of a score: squares of larger ones overflow
_FAR = np.datetime64("9999-01-01", "D")


def build_valued_days(
    tables: Tables, protocol: Protocol, valued: tuple[ValuedDays, ...], person_id: pd.Series, *,
    starts: np.ndarray, ends: np.ndarray,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Days of each listed person in the valued states in each period, by key, arrays of shape (n, T).

    Periods follow each other without a gap. The dead, and those of whom nothing is recorded, have none: cost counts
    the same way.

    Raises NotEstimable where the protocol describes no pathway, or a table of its states is missing.
    """
    spec = protocol.pathway
    if spec is None:
        raise NotEstimable(Fault("protocol", "it describes no pathway", next_step="Add a [pathway] section."))
    require_state_tables(tables, spec)
    deaths = tables.read("people", ["person_id", "death_date"]).set_index("person_id")["death_date"]
    people = pd.DataFrame({
        "person_id": person_id.to_numpy(), "anchor": starts[0], "until": _FAR,
        "death": as_days(deaths.reindex(person_id)),
    })  # fmt: skip
    horizon = int((ends[-1] - starts[0]).astype(np.int64))
    edges = (starts - starts[0]).astype(np.int64)
    parts: dict[str, list[np.ndarray]] = {v.key: [] for v in valued}
    for days in lay_out_days(people, read_state_intervals(tables, protocol), protocol, horizon_days=horizon):
        for v in valued:
            inside = np.isin(days, [spec.state_keys.index(state) for state in v.states])
            parts[v.key].append(np.add.reduceat(inside, edges, axis=1, dtype=np.float64))
    return {key: np.concatenate(found) for key, found in parts.items()}


def build_valued_scores(
    tables: Tables, valued: ValuedScore, person_id: pd.Series, *, before: tuple[np.datetime64, np.datetime64],
    after: tuple[np.datetime64, np.datetime64],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Mean score of each listed person in the windows `[start, end)` before and after; NaN where none is recorded.

    The items answered on one day are averaged first, then the days. With a mapping to utilities the score is a QALY a
    quarter: a fourth of the utility.

    Raises NotEstimable where there is no table assessments, nobody has answered, or a score is too large.
    """
    if not tables.has("assessments"):
        raise NotEstimable(Fault("tables", "there is no table assessments"))
    rows = tables.read("assessments", ["person_id", "date", "instrument", "score"])
    rows = rows[rows["instrument"].eq(valued.instrument) & rows["score"].notna()]
    if not len(rows):
        raise NotEstimable(Fault("assessments", f'no answer to "{valued.instrument}" is recorded'))
    if rows["score"].abs().max() > _LARGEST:
        raise NotEstimable(Fault("assessments.score", "some are too large", allowed=f"up to {_LARGEST:g}"))
    daily = rows.groupby(["person_id", "date"], sort=True)["score"].mean().reset_index()
    day, found = as_days(daily["date"]), []
    for start, end in (before, after):
        inside = daily[(day >= start) & (day < end)]
        mean = inside.groupby("person_id")["score"].mean().reindex(pd.Index(person_id)).to_numpy(dtype=np.float64)
        if valued.is_qaly:
            mean = np.minimum(valued.utility_at_zero + valued.utility_per_point * mean, 1.0) / 4
        found.append(mean)
    return found[0], found[1]
