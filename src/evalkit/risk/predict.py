"""Risks of new discharges in a file, from a model on disk, or every reason why there are none."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from evalkit.cohort.frames import how_many
from evalkit.core.errors import Fault, ParameterError, suggest_name
from evalkit.core.faults import refuse
from evalkit.core.result import Check
from evalkit.risk.model import RiskModel, predict_risk
from evalkit.risk.model_file import load_model
from evalkit.risk.prepare import OnUnseen, RiskColumn, check_features, find_outside

_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """`risks`: one row a discharge in the order given; `checks` of the input.

    Columns: `id`; `risk`, 0 to 1; `outside_range`, whether any of its numbers lies outside the range of development,
    where the model goes beyond what it has seen.
    """

    risks: pd.DataFrame
    checks: tuple[Check, ...]

    def __repr__(self) -> str:
        return f"Predictions(checks={[check.name for check in self.checks]})"


def predict_file(
    folder: Path | str, path: Path | str, *, protocol_digest: str, id_column: str, on_unseen: OnUnseen = "refuse"
) -> Predictions:
    """Risks of the discharges in a CSV or Parquet file by the model in `folder`; see `predict_discharges`.

    Fails with `ParameterError` for what `load_model`, `load_discharges` and `predict_discharges` refuse.
    """
    model = load_model(folder, protocol_digest=protocol_digest)
    frame = load_discharges(path, columns=model.columns, id_column=id_column)
    return _predict(model, frame, id_column, on_unseen)


def predict_discharges(
    folder: Path | str,
    frame: pd.DataFrame,
    *,
    protocol_digest: str,
    id_column: str,
    on_unseen: OnUnseen = "refuse",
) -> Predictions:
    """Risks of the discharges in `frame` (n, at least the model's columns and `id_column`) by the model in `folder`.

    The risk of a discharge depends on its own row alone. Fails with `ParameterError`, all faults of the frame at once:
    what `load_model` refuses; identifiers that are missing or stand twice; what `check_features` refuses.
    """
    return _predict(load_model(folder, protocol_digest=protocol_digest), frame, id_column, on_unseen)


def load_discharges(path: Path | str, *, columns: Sequence[RiskColumn], id_column: str) -> pd.DataFrame:
    """The model's columns and `id_column` of a CSV (UTF-8, a header, empty for missing) or Parquet file, as they are.

    Text that looks like a number stays text where the model knows the column as a category; identifiers of a CSV are
    text. What is missing or of another type is left for `check_features` to refuse. Fails with `ParameterError`
    where the file is not there, is of another kind, is broken, has a column twice, or has rows of a CSV with more or
    fewer entries than columns (a comma in a number would move all after it).
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ParameterError(Fault(str(path), "is of another kind", path.suffix or "no suffix", ", ".join(_SUFFIXES)))
    if not path.is_file():
        raise ParameterError(Fault(str(path), "is not there"))
    wanted = [id_column, *(c.name for c in columns)]
    try:
        held = _read_header(path)
        twice = sorted({name for name in held if held.count(name) > 1})
        refuse(Fault(str(path), f'the column "{name}" stands in it twice') for name in twice)
        kept = [name for name in held if name in wanted]
        if path.suffix.lower() == ".parquet":
            return pq.read_table(path, columns=kept).to_pandas(ignore_metadata=True)
        _refuse_uneven(path, len(held))
        text = [id_column, *(c.name for c in columns if c.type == "category")]
        return pd.read_csv(
            path, usecols=kept, dtype={name: str for name in text if name in kept}, encoding="utf-8-sig",
            keep_default_na=False, na_values={name: [""] for name in kept}, low_memory=False,
        )  # fmt: skip
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError):
        raise ParameterError(Fault(str(path), "cannot be read", allowed="a whole CSV or Parquet file")) from None


def _read_header(path: Path) -> list[str]:
    if path.suffix.lower() == ".parquet":
        return list(pq.read_schema(path).names)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return next((row for row in csv.reader(lines) if row), [])


def _refuse_uneven(path: Path, columns: int) -> None:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        uneven = sum(len(row) != columns for row in csv.reader(lines) if row)
    if uneven:
        step = "Is the file whole, and are numbers with a comma in quotation marks?"
        what = f"{how_many(uneven)} with more or fewer entries than there are columns"
        raise ParameterError(Fault(str(path), what, allowed=f"{columns} a row", next_step=step))


def _predict(model: RiskModel, frame: pd.DataFrame, id_column: str, on_unseen: OnUnseen) -> Predictions:
    faults = _id_faults(frame, id_column)
    share = model.options.most_outside_share
    try:
        checks = check_features(model.columns, frame, on_unseen=on_unseen, most_outside_share=share)
    except ParameterError as refusal:
        raise ParameterError([*faults, *refusal.faults]) from None
    refuse(faults)
    risk = predict_risk(model, frame, on_unseen=on_unseen)
    told = {"id": frame[id_column].to_numpy(), "risk": risk, "outside_range": find_outside(model.columns, frame)}
    return Predictions(pd.DataFrame(told), checks)


def _id_faults(frame: pd.DataFrame, id_column: str) -> list[Fault]:
    if not isinstance(frame, pd.DataFrame):
        return []  # said by check_features
    where = f'identifier "{id_column}"'
    if (frame.columns == id_column).sum() != 1:
        there = [str(name) for name in frame.columns]
        what = "is missing" if id_column not in there else "stands in the frame twice"
        return [Fault(where, what, next_step=suggest_name(id_column, there))]
    values = frame[id_column]
    faults = []
    if values.isna().any():
        faults.append(Fault(where, f"is missing for {how_many(int(values.isna().sum()))}"))
    doubled = int(values.dropna().duplicated().sum())
    if doubled:
        faults.append(Fault(where, f"stands twice for {how_many(doubled)}", next_step="One row a discharge"))
    return faults
