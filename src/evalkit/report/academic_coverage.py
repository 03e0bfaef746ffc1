"""How often the planned intervals held the truth on simulated worlds like this study's, in the academic report.

The numbers are those of `benchmarks/recovery.py --keep`, kept in data/coverage.csv with what they were made from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.resources import files
from io import StringIO
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report.academic_results import nothing
from evalkit.report.display import show_table, show_text
from evalkit.report.phrases import listed
from evalkit.report.tables import estimator_words

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

NOMINAL = 0.95
_FILE = files("evalkit.report") / "data" / "coverage.csv"
_ROLES = {"primary": "Primary", "naive": "Naive: not evidence of effect", "sensitivity": "Sensitivity"}


def load_coverage() -> tuple[pd.DataFrame, dict[str, str]]:
    """The summary, one row an estimator of an estimand, and what it was made from: worlds, seeds, three digests."""
    text = _FILE.read_text(encoding="utf-8")
    told = [line.removeprefix("# ").split(": ", 1) for line in text.splitlines() if line.startswith("#")]
    return pd.read_csv(StringIO(text), comment="#"), dict(told[1:])


def show_coverage(release: Release) -> None:
    """Bias and coverage of the estimators of this study's outcomes, with their Monte-Carlo errors."""
    rows, made = load_coverage()
    rows = _of_this_study(rows, release)
    if rows.empty:
        nothing("measure of how often these intervals hold the truth: none of this study's outcomes and estimators was "
                "tried on simulated worlds", id="text-no-coverage")  # fmt: skip
        return
    show_text(f"{_worlds(release, made)}\n\n{_reading(rows)}", id="text-coverage")
    show_table(coverage_table(rows, release), id="tab-coverage",
               caption="Simulated worlds: bias of estimators and coverage of nominal 95% intervals",
               note="In brackets: Monte-Carlo errors. Bias is in the outcome's own unit: risk, ratio, or GBP per "
                    "person-quarter. "
                    f"Code SHA-256 {made['code'][:16]}; settings SHA-256 {made['settings'][:16]}.")  # fmt: skip


def _of_this_study(rows: pd.DataFrame, release: Release) -> pd.DataFrame:
    planned = [release.protocol.estimand(outcome).key for outcome in release.protocol.outcomes]
    asked = [release.protocol.is_planned(*pair) for pair in zip(rows["estimand"], rows["estimator"], strict=True)]
    return rows[rows["estimand"].isin(planned) & pd.Series(asked, index=rows.index, dtype=bool)]


def _worlds(release: Release, made: Mapping[str, str]) -> str:
    text = (f"{made['worlds']} worlds (seeds {made['seeds']}) were drawn with one treated area, three comparators and "
            "29 further areas, with people who differ between areas in what is and is not recorded, and with shocks "
            "that hit whole areas. Each was analysed by the path of this study's notebooks, and each interval was "
            "held to the truth of its world [@morris2019]. ")  # fmt: skip
    text += ("The protocol was this one." if release.protocol.digest == made["protocol"] else
             "The protocol was another version or another study's; the outcomes and estimators below are in "
             "both.")  # fmt: skip
    return text + " The worlds are simulated: where this study's records differ from them, coverage may differ too."


def _reading(rows: pd.DataFrame) -> str:
    primary = rows[rows["role"] == "primary"]
    if primary.empty:
        return "No primary estimator is among them."
    low = [r.estimand for r in primary.itertuples() if falls_short(r.coverage, r.coverage_mcse)]
    off = [r.estimand for r in primary.itertuples() if abs(r.bias) > 3 * r.bias_mcse]
    least, most = (100 * primary["coverage"].agg(end) for end in ("min", "max"))
    text = f"Coverage of the {len(primary)} primary estimators goes from {least:.1f}% to {most:.1f}%. "
    text += (f"It lies below {100 * NOMINAL:.0f}% by more than two Monte-Carlo errors for {listed(low)}. " if low else
             f"None lies below {100 * NOMINAL:.0f}% by more than two Monte-Carlo errors. ")  # fmt: skip
    return text + (f"Bias is beyond three Monte-Carlo errors for {listed(off)}." if off else
                   "No primary bias is beyond three Monte-Carlo errors.")  # fmt: skip


def falls_short(coverage: float, error: float) -> bool:
    """Whether coverage lies below the nominal level by more than two Monte-Carlo errors."""
    return coverage + 2 * error < NOMINAL


def coverage_table(rows: pd.DataFrame, release: Release) -> pd.DataFrame:
    """One row an estimator of an outcome, as text."""
    labels = {release.protocol.estimand(o).key: o.label for o in release.protocol.outcomes}
    return pd.DataFrame({
        "Outcome": [labels[e] for e in rows["estimand"]],
        "Role": [_ROLES[role] for role in rows["role"]],
        "Estimator": [_estimator_words(release, r.estimand, r.estimator) for r in rows.itertuples()],
        "Worlds": [f"{n}" for n in rows["worlds"]],
        "No estimate": [f"{100 * share:.1f}%" for share in rows["refused"]],
        "Mean truth": [_signed(v, v) for v in rows["truth"]],
        "Bias": [f"{_signed(r.bias, r.truth)} ({_signed(r.bias_mcse, r.truth)})" for r in rows.itertuples()],
        "Coverage": [f"{100 * r.coverage:.1f}% ({100 * r.coverage_mcse:.1f}%)"
                     + (", too low" if falls_short(r.coverage, r.coverage_mcse) else "") for r in rows.itertuples()],
    })  # fmt: skip


def _estimator_words(release: Release, estimand: str, estimator: str) -> str:
    """As the table of estimates calls it, where the release holds that estimate."""
    effects = release.table("effects")
    own = effects[(effects["estimand"] == estimand) & (effects["estimator"] == estimator)]
    named = own.iloc[0] if len(own) else pd.Series({"estimator": estimator, "label": estimator.replace("_", " ")})
    return estimator_words(named)


def _signed(value: float, scale: float) -> str:
    """Whole numbers for money, four decimals for risks and ratios; a true minus sign."""
    text = f"{value:,.0f}" if abs(scale) >= 10 and math.isfinite(value) else f"{value:.4f}"
    return text.replace("-", "−")
