"""The coverage that the academic report shows is what `make recovery` printed, and is told with its errors."""

from __future__ import annotations

import re
import sys

import numpy as np
import pandas as pd
import pytest

from evalkit.core.protocol import load_protocol
from evalkit.report import academic_coverage, display
from evalkit.report.academic_coverage import coverage_table, falls_short, load_coverage
from tests.report_factory import ROOT, make_release

LINE = re.compile(
    r"\| `([a-z0-9_.]+)` \| (\w+)(?:, `(\w+)`)? \| (\d+) \| ([\d.]+)% \| ([-\d.,]+) \| ([-\d.,]+) \(([\d.,]+)\) \| "
    r"([\d.]+)% \(([\d.]+)%\) \|"
)


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_file_and_documentation_say_the_same() -> None:
    section = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8").split("## Recovery of known truth")[1]
    told = [found.groups() for line in section.splitlines() if (found := LINE.match(line))]
    rows, made = load_coverage()
    assert f"{made['worlds']} worlds" in section
    assert f"seeds {made['seeds']}" in section
    assert len(told) == len(rows)
    for (estimand, role, estimator, *numbers), row in zip(told, rows.itertuples(), strict=True):
        worlds, refused, truth, bias, bias_error, coverage, error = map(number, numbers)
        assert (estimand, role) == (row.estimand, row.role)
        assert estimator in (None, row.estimator)
        assert (worlds, truth, bias, bias_error) == (row.worlds, row.truth, row.bias, row.bias_mcse)
        assert (refused, coverage, error) == pytest.approx(
            (100 * row.refused, 100 * row.coverage, 100 * row.coverage_mcse)
        )


def test_provenance_is_whole_and_errors_are_those_of_a_share() -> None:
    rows, made = load_coverage()
    assert set(made) == {"worlds", "seeds", "settings", "protocol", "code"}
    assert all(re.fullmatch("[0-9a-f]{64}", made[name]) for name in ("settings", "protocol", "code"))
    share = rows["coverage"]
    assert np.allclose(rows["coverage_mcse"], np.sqrt(share * (1 - share) / rows["worlds"]), atol=0.0011)
    protocol = load_protocol(ROOT / "protocols" / "ipsa.toml")
    for outcome in protocol.outcomes:
        if outcome.role == "primary":
            own = rows[(rows["estimand"] == protocol.estimand(outcome).key) & (rows["role"] == "primary")]
            assert list(own["estimator"]) == [outcome.estimator]


def shown(release, monkeypatch) -> dict[str, str]:
    seen: dict[str, str] = {}
    monkeypatch.setattr(display, "display", lambda data, *, raw, metadata: seen.update(
        {metadata["evalkit"]["id"]: data["text/plain"]}))  # fmt: skip
    academic_coverage.show_coverage(release)
    return seen


def test_every_primary_outcome_is_shown_with_its_error(monkeypatch) -> None:
    seen = shown(make_release("benefit"), monkeypatch)
    assert "94.8% (1.6%)" in seen["tab-coverage"]
    assert "−94 (54)" in seen["tab-coverage"]
    assert "None lies below 95% by more than two Monte-Carlo errors" in seen["text-coverage"]


def test_low_coverage_is_said(monkeypatch) -> None:
    assert falls_short(0.90, 0.02)
    assert not falls_short(0.93, 0.02)
    rows, made = load_coverage()
    rows.loc[0, ["coverage", "coverage_mcse", "bias", "bias_mcse"]] = [0.80, 0.03, 0.9, 0.1]
    monkeypatch.setattr(academic_coverage, "load_coverage", lambda: (rows, made))
    seen = shown(make_release("benefit"), monkeypatch)
    assert "more than two Monte-Carlo errors for readmission_30d.risk_difference" in seen["text-coverage"]
    assert "Bias is beyond three Monte-Carlo errors for readmission_30d.risk_difference" in seen["text-coverage"]
    assert "80.0% (3.0%), too low" in seen["tab-coverage"]


def test_another_study_is_told_that_nothing_was_tried(monkeypatch) -> None:
    found = make_release("benefit")
    rows, made = load_coverage()
    monkeypatch.setattr(academic_coverage, "load_coverage", lambda: (rows.assign(estimand="other.ratio"), made))
    assert list(shown(found, monkeypatch)) == ["text-no-coverage"]
    assert coverage_table(rows[:0], found).empty


def test_the_benchmark_writes_the_file_that_is_read(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import recovery

    estimates = pd.DataFrame({
        "seed": range(1, 41), "estimand": "a.rate_ratio", "estimator": "e", "role": "primary", "truth": 1.0,
        "value": np.linspace(0.9, 1.1, 40), "lower": 0.95, "upper": np.linspace(0.99, 1.2, 40), "se": 0.1,
        "scale": "rate_ratio", "settings": "0" * 64, "protocol": "1" * 64, "code": "2" * 64,
    })  # fmt: skip
    path = tmp_path / "coverage.csv"
    recovery.keep(estimates, path)
    monkeypatch.setattr(academic_coverage, "_FILE", path)
    rows, made = load_coverage()
    assert made == {"worlds": "40", "seeds": "1 to 40", "settings": "0" * 64, "protocol": "1" * 64, "code": "2" * 64}
    assert list(rows.columns) == list(pd.read_csv(ROOT / "src/evalkit/report/data/coverage.csv", comment="#").columns)
    assert rows["coverage"].iloc[0] == pytest.approx((estimates["upper"] >= 1).mean(), abs=5e-4)
    with pytest.raises(SystemExit, match="do not say"):
        recovery.keep(estimates.drop(columns="code"), path)
    sys.modules.pop("recovery")
