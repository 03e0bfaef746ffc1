"""What a referee asks of the designs: balance as a table, placebo tests of size, further checks, and what is held."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evalkit.report import facts
from evalkit.report.display import show_table, show_text
from evalkit.report.phrases import full_stop, listed, starts_with_capital
from evalkit.report.plain import referee_reason

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

BALANCES: Mapping[str, str] = MappingProxyType({
    "balance": "Discharges", "balance.after_discharge": "First discharges", "balance.pathway": "Pathway cohorts",
    "balance.people": "Two sides at go-live",
})  # fmt: skip
# Tables that stay in the workings (`evalkit.analysis.study.HELD`), and what each would have shown.
HELD: Mapping[str, str] = MappingProxyType({
    "anticipation": "Effects had the service begun earlier (early starts)",
    "at_risk": "People at risk beneath the curves of readmission",
    "balance_more": "Characteristics after weighting, variance ratios and effective sample by characteristic",
    "drop_one": "The effect with each comparison area left out in turn",
    "gap": "Path of the treated area less its synthetic control, period by period",
    "its": "Interrupted time series: fitted path and counterfactual by period",
    "occupancy": "Where people were, week by week, with intervals",
    "placebo_time": "Effects at false dates before adoption",
    "propensity": "Propensities on either side, before and after weighting (overlap)",
    "risk_instability_calibration": "Calibration curves of the bootstrap risk models",
    "synthetic": "The treated area beside its synthetic control, period by period",
    "transitions": "Every move between places",
    "weights": "Weights of the comparison areas in synthetic controls",
    "xmr": "Control charts of each rate",
    "checks.anticipation": "Checks of the early starts",
    "checks.designs": "Checks of the other designs (fit before, effective donors)",
    "checks.neighbourhood": "Checks of the analyses of spillover",
})  # fmt: skip
_RESULTS = {"passed": "passed", "failed": "failed", "informs": "for information"}


def show_balance_table(release: Release) -> None:
    """Standardised differences before and after weighting of every weighted comparison, as numbers."""
    table = build_balance(release)
    if table.empty:
        return
    show_table(table, id="tab-balance", caption="Characteristics before and after weighting: largest standardised "
               "difference, by comparison",
               note="Standard deviations. Differences before weighting go in steps, so that they tell no number of "
                    "people. Shares and means after weighting are among the tables held back (tab-held).")  # fmt: skip


def build_balance(release: Release) -> pd.DataFrame:
    """One row a characteristic; a column `before / after` for each comparison that was weighted."""
    columns: dict[str, dict[str, str]] = {}
    names: dict[str, str] = {}
    for table, name in BALANCES.items():
        rows = release.table(table)
        for key, part in rows.groupby("row", sort=False):
            told = part.set_index("column")["value"]
            names.setdefault(str(key), starts_with_capital(str(part["label"].iloc[0])))
            ends = [_two(told.get(column, np.nan)) for column in ("unweighted", "weighted")]
            columns.setdefault(name, {})[str(key)] = " / ".join(ends)
    heads = {f"{name}: before / after": [cells.get(key, "") for key in names] for name, cells in columns.items()}
    return pd.DataFrame({"Characteristic": list(names.values()), **heads}) if names else pd.DataFrame()


def _two(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "not released"


def show_placebo_size(release: Release) -> None:
    """How often each design finds an effect where none can be: on this study's own untreated areas."""
    table = build_placebo_size(release)
    if table.empty:
        return
    show_text("Each untreated area was taken for the treated one, and each design whose errors are not exact by "
              "construction was asked for an effect there. It should find one in 5 of 100 at a nominal 95%.",
              id="text-placebo-size")  # fmt: skip
    show_table(table, id="tab-placebo-size", caption="Placebo tests: share of untreated areas in which a design finds "
               "an effect", note="In brackets: exact 95% interval of that share.")  # fmt: skip


def build_placebo_size(release: Release) -> pd.DataFrame:
    """One row an outcome and design: share of placebos rejected, with its interval."""
    labels = {o.key: o.label for o in release.protocol.outcomes}
    rows = []
    for name in facts.tables_like(release, "placebo_size."):
        outcome = labels.get(name.removeprefix("placebo_size."), name)
        rows += [
            {"Outcome": outcome, "Design": r.label, "Rejected": _share(r)} for r in release.table(name).itertuples()
        ]
    return pd.DataFrame(rows)


def _share(row: object) -> str:
    if not np.isfinite(row.value):
        return full_stop(referee_reason(str(row.reason))) if row.reason else "not released"
    text = f"{100 * row.value:.1f}%"
    return f"{text} ({100 * row.lower:.1f} to {100 * row.upper:.1f})" if np.isfinite(row.lower) else text


def show_more_checks(release: Release) -> None:
    """Checks of estimates other than the planned ones: people over time, subgroups, cost against effect, budget."""
    table = build_more_checks(release)
    if len(table):
        show_table(table, id="tab-more-checks", caption="Checks of further analyses",
                   note="Checks that found the same are told once.")  # fmt: skip


def build_more_checks(release: Release) -> pd.DataFrame:
    """One row a finding: the table checked, the check, its result, what it found, and of how many estimates."""
    found: dict[tuple[str, str, str, str], int] = {}
    for name in more_checks(release):
        for row in release.table(name).itertuples():
            key = (name.removeprefix("checks."), str(row.label), _RESULTS.get(row.unit, row.unit), str(row.reason))
            found[key] = found.get(key, 0) + 1
    return pd.DataFrame([
        {"Table": table, "Check": starts_with_capital(check), "Result": result, "Finding": finding, "Estimates": f"{n}"}
        for (table, check, result, finding), n in found.items()
    ])  # fmt: skip


def more_checks(release: Release) -> list[str]:
    """Tables of checks other than those of the planned estimates and of the risk models."""
    return [t for t in facts.tables_like(release, "checks.") if t not in ("checks.effects", "checks.risk")]


def show_held(release: Release) -> None:
    """What the analyses made and this report cannot show, and why; and what was never made."""
    if release.protocol.exposure.by != "area":
        show_text("No table of this study is held back as a whole.", id="text-no-held")
        return
    show_text("Each table below is many functions of a few areas' counts by period, from which these could be worked "
              "back, or would be rounded until nothing is left to see. They stay in the workings, inside the secure "
              f"environment, where a referee with access can read them. {_never_made(release)}",
              id="text-held")  # fmt: skip
    rows = pd.DataFrame({"Table": list(HELD), "What it would show": list(HELD.values())})
    show_table(rows, id="tab-held", caption="Tables that are held back, where the protocol asks for them")


def _never_made(release: Release) -> str:
    """Outcomes for which an event study was not made, or has too few numbers left to show."""
    kept, few = [], []
    for outcome in release.protocol.outcomes:
        path = release.table(f"event_study.{outcome.key}")
        if path.empty:
            kept.append(outcome.label)
        elif path["value"].notna().sum() < 2:
            few.append(outcome.label)
    text = f"No event study was made for: {listed(kept)}." if kept else "An event study was made for every outcome."
    return f"{text} Too little of it is released for: {listed(few)}." if few else text
