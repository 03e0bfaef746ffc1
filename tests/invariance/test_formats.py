"""The same tables in another dress give the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evalkit.analysis.effects import estimate_all
from evalkit.analysis.readmission import describe_readmission
from evalkit.analysis.study import Study, open_study
from evalkit.core.result import Results

ROOT = Path(__file__).parents[2]
WORLD = ROOT / "data" / "synthetic" / "ipsa"


def numbers(study: Study, folder: Path) -> bytes:
    results = Results.concat([Results.from_estimates(estimate_all(study)), *describe_readmission(study)])
    stamped = results.stamped(notebook="test", protocol=study.protocol.digest, data=study.tables.digest)
    stamped.save(folder / "results.parquet")
    return (folder / "results.parquet").read_bytes()


@pytest.mark.slow
def test_csv_with_shuffled_columns_and_rows_and_an_extra_column_gives_the_same_bytes(tmp_path):
    rng = np.random.default_rng(1)
    copy = tmp_path / "csv"
    copy.mkdir()
    for path in sorted(WORLD.glob("*.parquet")):
        frame = pd.read_parquet(path)
        frame["note_of_the_trust"] = "extra"
        frame = frame[list(rng.permutation(frame.columns))].iloc[rng.permutation(len(frame))]
        frame.to_csv(copy / f"{path.stem}.csv", index=False)
    as_it_is = open_study(ROOT / "protocols/ipsa.toml", WORLD)
    as_csv = open_study(ROOT / "protocols/ipsa.toml", copy)
    assert as_csv.tables.digest == as_it_is.tables.digest
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert numbers(as_csv, tmp_path / "a") == numbers(as_it_is, tmp_path / "b")


def test_a_changed_cell_changes_the_digest(tmp_path):
    for path in WORLD.glob("*.parquet"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    areas = pd.read_parquet(tmp_path / "areas.parquet")
    areas.loc[0, "population"] += 1
    areas.to_parquet(tmp_path / "areas.parquet", index=False)
    protocol = ROOT / "protocols/ipsa.toml"
    assert open_study(protocol, tmp_path).tables.digest != open_study(protocol, WORLD).tables.digest
