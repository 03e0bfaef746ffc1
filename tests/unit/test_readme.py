"""The code that the README shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from tests.panels import ESTIMAND

README = Path(__file__).parents[2] / "README.md"


def _snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.S)


def test_the_snippet_on_designs_runs():
    code, *_ = _snippets()
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


def test_the_snippet_on_people_runs(capsys):
    _, code, *_ = _snippets()
    rng = np.random.default_rng(4)
    start = rng.integers(0, 50, 120)
    df = pd.DataFrame({
        "id": np.arange(120), "start": start, "stop": start + rng.integers(1, 90, 120),
        "readmitted": rng.integers(0, 2, 120), "treated": rng.integers(0, 2, 120), "age": rng.normal(45, 10, 120),
    })  # fmt: skip
    exec(code, {"df": df})
    assert len(capsys.readouterr().out.split()) >= 2


def test_the_snippet_on_value_runs(capsys):
    _, _, code, _ = _snippets()
    rng = np.random.default_rng(4)
    exec(code, {"cost_gbp": rng.normal(-900, 700, 500), "days_at_home": rng.normal(3, 2, 500)})
    assert "cheaper and better" in capsys.readouterr().out


def test_the_snippet_on_risk_runs(capsys):
    *_, code = _snippets()
    rng = np.random.default_rng(4)
    exec(code, {"outcome": (rng.random(900) < 0.2).astype(int), "person": rng.integers(0, 700, 900)})
    assert capsys.readouterr().out.startswith("recalibrate Too few independent discharges")
