"""Tables of a risk model within groups, for referees: every cell is text, and what is missing says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report import facts
from evalkit.report.phrases import number, starts_with_capital
from evalkit.report.risk_group_words import FAIRNESS, group_words, label_of, measure_words, read_gaps
from evalkit.report.risk_tables import cell_text, grid
from evalkit.report.risk_words import MEASURES, characteristic_words, told
from evalkit.report.value_facts import Amount, read_amount

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_THRESHOLD = {"flagged_per_100": "Pointed at, of 100", "sensitivity": "Sensitivity",
              "false_positive_rate": "False positive rate", "ppv": "Predictive value"}  # fmt: skip
_CONFLICT = {"base_rate": "Came back", "fpr_needed": "False positive rate needed"}


def _words(first: pd.Series) -> list[str]:
    return [group_words(str(first["row"]), str(first["label"]))]


def groups_table(release: Release) -> pd.DataFrame:
    """The model within each group."""
    names = {m: MEASURES[m] for m in ("discharges", "auroc", "observed_expected", "calibration_slope", "scaled_brier")}
    return grid(release, "risk_groups", heads=("Group",), words=_words, columns=names)


def group_threshold_table(release: Release) -> pd.DataFrame:
    """What pointing at people does to each group, how many of it come back, and the false positive rate that it would
    need for predictive values and sensitivities to be alike."""
    table = grid(release, "risk_group_threshold", heads=("Group",), words=_words, columns=_THRESHOLD)
    if not facts.release_has(release, "risk_group_conflict"):
        return table
    limit = facts.threshold(release)
    rows = dict.fromkeys(release.table("risk_group_threshold")["row"].astype(str))
    places = {_words(pd.Series({"row": r, "label": label_of(release, r)}))[0]: r for r in rows}
    for column, head in _CONFLICT.items():
        found = [facts.cell(release, "risk_group_conflict", places.get(name, ""), column) for name in table["Group"]]
        table[head] = ["" if cell is None else cell_text(cell, column, threshold=limit) for cell in found]
    return table


def gap_table(release: Release) -> pd.DataFrame:
    """Each gap that is released, how large it would be on average were all levels alike, and the test that they are.

    Gaps without a number are left out: `count_gaps` says how many.
    """
    out = []
    for gap in read_gaps(release):
        for measure in (m for m in FAIRNESS if m in gap.looked):
            size = read_amount(release, "risk_group_gap", gap.characteristic, measure)
            alike, p = (read_amount(release, "risk_group_equality", f"{gap.characteristic}|{measure}", c)
                        for c in ("if_equal", "p_value"))  # fmt: skip
            out.append([
                f"{starts_with_capital(characteristic_words(gap.characteristic))}: {measure_words(measure)}",
                told(size), number(alike.value) if alike.has_number else "", _p_text(p),
                "yes" if measure in gap.clear else "no",
            ])  # fmt: skip
    return pd.DataFrame(out, columns=["Gap", "Largest between two levels", "If all were alike", "p", "Stands out"])


def _p_text(p: Amount) -> str:
    """Releases round to two decimals, so that less is told as less."""
    return "" if not p.has_number else "<0.01" if p.value < 0.005 else number(p.value)


def curves_of(release: Release) -> list[tuple[str, pd.DataFrame]]:
    """Calibration curves within levels, by the level in words; those without a number are left out."""
    rows = release.table("risk_group_curve")
    levels = rows["row"].astype(str).str.rsplit("|", n=1).str[0]
    found = []
    for row in dict.fromkeys(levels):
        own = rows[levels == row]
        if own.loc[own["column"] == "smooth", "value"].notna().any():
            label = str(own["label"].iloc[0])
            found.append((group_words(row, "" if "|" in label else label), own))
    return found


def group_lines(release: Release) -> list[tuple[str, str]]:
    """Every group with its AUROC and its observed over expected, in words."""
    out = []
    for first in (r for _, r in release.table("risk_groups").drop_duplicates("row").iterrows()):
        row = str(first["row"])
        auroc, ratio = (read_amount(release, "risk_groups", row, m) for m in ("auroc", "observed_expected"))
        text = f"AUROC {told(auroc)}; observed over expected {told(ratio, 'ratio')}"
        out.append((group_words(row, str(first["label"])), text))
    return out
