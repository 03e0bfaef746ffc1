"""New discharges as the risk models want them: what was known of each on the day, from tables of the same shape."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from evalkit.analysis.risk_data import asked_model
from evalkit.analysis.study import Study
from evalkit.cohort.discharges import STAY_COLUMNS
from evalkit.cohort.predictors import derive_predictors
from evalkit.cohort.spells import build_hospital_spells, derive_discharges
from evalkit.core.dates import as_days
from evalkit.core.errors import Fault, NotEstimable, OutputError

ID = "discharge"


def build_new_discharges(study: Study, *, since: dt.date) -> pd.DataFrame:
    """Every eligible discharge on or after `since`, inside or outside the study's dates, one row each.

    Columns: `discharge` (the person's pseudonym and the day, and which of that day's from the second on, so that a risk
    can be brought back to its place) and the protocol's predictors, missing left missing. The rule is that of the
    study: wards, washout, age and lookback. Rows are about people and must stay in the secure environment.

    Raises NotEstimable where the tables hold no people, no ward stays or no discharge since then, or lack a table that
    a predictor needs.
    """
    asked, population = asked_model(study), study.protocol.population
    gone = [name for name in ("people", "ward_stays") if not study.tables.has(name)]
    if gone:
        raise NotEstimable([Fault("tables", f'there is no table "{name}", which discharges need') for name in gone])
    wards = study.protocol.outcomes_of("readmission")[0].index_ward_types
    spells = build_hospital_spells(study.tables.read("ward_stays", STAY_COLUMNS))
    rows = derive_discharges(spells, index_ward_types=wards, washout_days=population.washout_days)
    rows = rows[rows["discharge"] >= pd.Timestamp(since)].reset_index(drop=True)
    born = study.tables.read("people").set_index("person_id")["birth_year"].reindex(rows["person_id"])
    age = rows["discharge"].dt.year.to_numpy() - born.to_numpy()
    rows = rows[(age >= population.min_age_years) & (age <= population.max_age_years)].reset_index(drop=True)
    if rows.empty:
        raise NotEstimable(Fault("discharges", f"none is eligible since {since}"))
    rows = rows.assign(area=None)
    found = derive_predictors(
        rows, study.tables, predictors=asked.predictors, lookback_days=population.lookback_days
    )  # fmt: skip
    days = pd.Series(as_days(rows["discharge"]).astype("datetime64[D]").astype(str))
    earlier = rows.groupby(["person_id", "discharge"]).cumcount()  # somebody may leave twice in a day
    which = (earlier + 1).astype(str).radd(" ").where(earlier > 0, "")
    return found.features.assign(**{ID: rows["person_id"].astype(str) + " " + days + which})[[ID, *asked.predictors]]


def write_private_csv(rows: pd.DataFrame, out: Path, *, inputs: Iterable[Path] = ()) -> None:
    """A CSV about people: written whole or not at all, and readable by its owner alone.

    Raises OutputError where it cannot be written, is named as something other than a CSV, or is one of `inputs` or in
    one: what was read stays, and a model's folder holds nothing else. What was there is then untouched.
    """
    out = Path(out)
    read = [Path(path).resolve() for path in inputs]
    if {out.resolve(), out.resolve().parent} & set(read):
        raise OutputError(Fault(str(out), "is what was read, or lies in it", next_step="Name a file elsewhere."))
    if out.suffix.lower() != ".csv":
        raise OutputError(Fault(str(out), "is of another kind", out.suffix or "no suffix", ".csv"))
    part: str | None = None
    try:
        handle, part = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.", suffix=".partial")
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as lines:
            rows.to_csv(lines, index=False)
        Path(part).replace(out)
    except OSError as error:
        if part is not None:
            Path(part).unlink(missing_ok=True)
        why = error.strerror or type(error).__name__
        step = "Give a file in a folder that is there and can be written."
        raise OutputError(Fault(str(out), f"it cannot be written ({why})", next_step=step)) from error
