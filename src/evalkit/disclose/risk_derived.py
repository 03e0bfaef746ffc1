"""Numbers of risk models that are arithmetic on counts, worked out anew from the rounded ones.

Base rates, gaps between shares and sample sizes that are needed follow from numbers of discharges that are told
rounded. At digits of their own they would be so many equations in few counts, and would give them back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from evalkit.disclose.money import next_step
from evalkit.disclose.policy import Policy
from evalkit.disclose.risk_cells import SHARES, Cells, Numbers, move_ends, no_numbers, shown_rows, to_steps

CellsByRow = Mapping[tuple[str, str], Cells]


def derive_anew(frame: pd.DataFrame, cells: CellsByRow, policy: Policy) -> dict[str, Numbers]:
    """Numbers by id of `risk_group_conflict`, of gaps between shares, and of sample sizes that are needed."""
    return _conflicts(frame, policy) | _gaps(frame, cells, policy) | _needed(frame, policy)


# ---- base rates ----------------------------------------------------------------------------------


def _conflicts(frame: pd.DataFrame, policy: Policy) -> dict[str, Numbers]:
    """Base rates from rounded counts, what follows from them, and mean risks, which with O/E would give them again."""
    rows = shown_rows(frame, "risk_group_conflict")
    groups = shown_rows(frame, "risk_groups")
    sizes = groups[groups["column"] == "discharges"].set_index("row")["value"]
    rates = rows[rows["column"] == "base_rate"].set_index("row")["value"]
    done = {}
    for row in rows.to_dict("records"):
        people = float(sizes.get(row["row"], row["n_people"]))
        exact, near = float(rates.get(row["row"], math.nan)), max(policy.rounded(people), policy.base)
        told = min(policy.rounded(exact * people) / near, 1.0)
        step = max(next_step(policy.base / near), 0.01) if math.isfinite(near) else 1.0
        if row["column"] in ("mean_risk_events", "mean_risk_others") or not 0 < exact < 1 or not 0 < told < 1:
            done[row["id"]] = to_steps(row, step)
        elif row["column"] == "base_rate":
            done[row["id"]] = no_numbers() | {"value": round(told, 2)}
        else:
            odds = told / (1 - told) / (exact / (1 - exact))
            done[row["id"]] = no_numbers() | {"value": round(float(row["value"]) * odds, 2)}
    return done


# ---- gaps ----------------------------------------------------------------------------------------


def _gaps(frame: pd.DataFrame, cells: CellsByRow, policy: Policy) -> dict[str, Numbers]:
    """Largest gaps between shares at a threshold, from the shares that are told."""
    rows = shown_rows(frame, "risk_group_gap")
    done = {}
    for row in rows[rows["column"].isin(list(SHARES))].to_dict("records"):
        top, below = SHARES[row["column"]]
        scale = 100.0 if "100" in row["column"] else 1.0
        levels = [of.rounded(policy) for (table, level), of in cells.items()
                  if table == "risk_group_threshold" and level.split("|")[0] == row["row"]]  # fmt: skip
        shares = [min(of[top] / of[below], 1.0) for of in levels if of[below] > 0]
        if len(shares) < 2:
            done[row["id"]] = to_steps(row, 0.05 * scale)
            continue
        unit = policy.base / max(min(of[below] for of in levels), policy.base)
        value = scale * (max(shares) - min(shares))
        done[row["id"]] = move_ends(row, value, scale * unit, 1 if scale > 1 else 2, most=scale)
    return done


# ---- sample sizes --------------------------------------------------------------------------------


def _needed(frame: pd.DataFrame, policy: Policy) -> dict[str, Numbers]:
    """What each criterion asks for where the rounded share came back, at the next number of two digits."""
    rows = shown_rows(frame, "risk_size")
    samples = shown_rows(frame, "risk_sample").set_index(["row", "column"])["value"]
    done = {}
    for row in rows[rows["column"] == "needed"].to_dict("records"):
        horizon, part, criterion = (*str(row["row"]).split("|"), "", "")[:3]
        sample = f"{horizon}|{'validation' if part == 'validation' else 'development'}"
        total, events = (float(samples.get((sample, c), math.nan)) for c in ("discharges", "readmitted"))
        exact, near = (e / n if n > 0 else math.nan for e, n in
                       ((events, total), (policy.rounded(events), policy.rounded(total))))  # fmt: skip
        size = float(row["value"])
        if 0 < exact < 1 and 0 < near < 1:
            size *= _size_at(criterion, near) / _size_at(criterion, exact)
        done[row["id"]] = no_numbers() | {"value": _upwards(size)}
    return done


def _size_at(criterion: str, share: float) -> float:
    """What a criterion asks for where `share` came back, up to a factor and nearly (Riley 2019, 2021)."""
    spread = share * (1 - share)
    if criterion == "overall_risk":
        return spread
    if criterion == "observed_expected":
        return (1 - share) / share
    if criterion == "r2_difference":  # parameters over a twentieth of the largest R2, to first order
        return 1 / (1 - math.exp(2 * (share * math.log(share) + (1 - share) * math.log(1 - share))))
    return 1 / spread


def _upwards(number: float) -> float:
    """The next number of two digits, or of tens."""
    if not number > 0 or not math.isfinite(number):
        return number
    unit = 10.0 ** max(math.floor(math.log10(number)) - 1, 1)
    return math.ceil(number / unit - 1e-9) * unit
