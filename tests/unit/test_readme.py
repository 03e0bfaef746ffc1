"""The code that the README shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from tests.panels import ESTIMAND

README = Path(__file__).parents[2] / "README.md"


def test_the_snippet_on_designs_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.S)
    rng = np.random.default_rng(4)
    quarters = pd.date_range("2012-04-01", periods=16, freq="QS")
    rows = [(f"borough {j:02d}", q, rng.poisson(20.0), 100.0) for j in range(24) for q in quarters]
    df = pd.DataFrame(rows, columns=["borough", "quarter", "entries", "person_years"])
    df["start"] = quarters[10].to_datetime64()
    df["start"] = df["start"].where(df["borough"] == "borough 00")
    space = {"df": df, "estimand": ESTIMAND}
    exec(code, space)
    assert 0.5 < space["found"].value < 2
    assert space["found"].lower < space["found"].value < space["found"].upper
