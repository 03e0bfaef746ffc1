"""bacondecomp's `castle` data into canonical tables: homicides per 100,000 become counts over person-years."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd


def convert(source: Path, folder: Path) -> None:
    rows = pd.read_csv(source)
    counts = pd.DataFrame(
        {
            "area": rows["state"],
            "period_start": pd.to_datetime(rows["year"].astype(str) + "-01-01"),
            "outcome": "homicide",
            "count": (rows["homicide"] * rows["population"] / 100_000).round(),
            "person_time": rows["population"].astype(float),
        }
    )
    first = rows.groupby("state", sort=True).agg(population=("population", "last"), year=("effyear", "first"))
    areas = pd.DataFrame(
        {
            "area": first.index,
            "population": first["population"].to_numpy(),
            "adoption_date": [pd.Timestamp(int(y), 1, 1) if y == y else pd.NaT for y in first["year"]],
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    counts.to_parquet(folder / "area_counts.parquet", index=False)
    areas.to_parquet(folder / "areas.parquet", index=False)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: convert.py DATA.csv FOLDER")
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
