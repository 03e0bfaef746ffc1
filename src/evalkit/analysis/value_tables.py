"""Value in cells: the plane of cost and effect, acceptability, what knowing more is worth, and the tornado."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from evalkit.analysis.cost_few import explain_withheld
from evalkit.analysis.cost_tables import UNIT
from evalkit.analysis.costs import CostFindings
from evalkit.analysis.study import Study
from evalkit.analysis.value import WITH, WITHOUT, ValueDraws, compute_tornado
from evalkit.core.errors import NotEstimable
from evalkit.core.result import Cell, Check
from evalkit.economics.evppi import compute_evppi
from evalkit.economics.frontier import compute_icer_interval
from evalkit.economics.net_benefit import Plane, compute_acceptability, compute_incremental_benefit, compute_plane

_PASSED = {True: "passed", False: "failed", None: "informs"}
MIN_RECORDED = 0.8
AREA_SHOCKS_IN_DRAWS = (
    "Draws are of people, not of areas: what hit one whole area alone is in none of them, so that every share of draws "
    "is nearer to 0 or 1 than it should be."
)


def refused_cell(row: str, column: str, reason: str, **more: object) -> Cell:
    """A cell that stands where the number would, and says why there is none."""
    return Cell(row, column, math.nan, "statistic", status="not_estimable", reason=reason, **more)


def check_cells(row: str, checks: Iterable[Check]) -> list[Cell]:
    """Diagnostics as cells of a table `checks.<table>`."""
    return [Cell(row, c.name, c.value, "check", unit=_PASSED[c.passed], reason=c.text,
                 label=c.name.replace("_", " ")) for c in checks]  # fmt: skip


def plane_cells(draws: Sequence[ValueDraws], level: float) -> list[Cell]:
    """Means, spread and shares of the quadrants of each thing valued, with the ratio or why there is none."""
    cells = []
    for found in draws:
        key, shared = found.valued.key, {"n_people": found.n_people, "label": found.valued.label}
        if found.psa is None:
            cells.append(refused_cell(key, "mean_effect", found.reason, **shared))
            continue
        plane = compute_plane(found.psa, target=WITH, reference=WITHOUT, level=level)
        per = f"{found.unit} per person-quarter"
        (low_c, high_c), (low_e, high_e) = plane.cost_interval_gbp, plane.effect_interval
        cells += [
            Cell(key, "mean_cost", plane.mean_cost_gbp, "mean", unit=UNIT, lower=low_c, upper=high_c, level=level,
                 **shared),
            Cell(key, "mean_effect", plane.mean_effect, "mean", unit=per, lower=low_e, upper=high_e, level=level,
                 **shared),
            Cell(key, "sd_cost", plane.sd_cost_gbp, "mean", unit=UNIT, **shared),
            Cell(key, "sd_effect", plane.sd_effect, "mean", unit=per, **shared),
            Cell(key, "correlation", plane.correlation, "statistic", unit="correlation", **shared),
        ]  # fmt: skip
        cells += [
            Cell(key, f"share_{side}", getattr(plane, f"share_{side}"), "statistic", unit="share of draws", **shared)
            for side in ("se", "ne", "sw", "nw")
        ]
        cells.append(_ratio_cell(found, plane, level))
    return cells


def _ratio_cell(found: ValueDraws, plane: Plane, level: float) -> Cell:
    """The incremental cost-effectiveness ratio with Fieller's interval; or why there is none, and how sure that is."""
    key, shared = found.valued.key, {"n_people": found.n_people, "label": found.valued.label}
    if not math.isfinite(plane.icer.value):
        words = {"SE": "costs less and does more", "NW": "costs more and does less"}.get(plane.icer.quadrant)
        if words is None:
            return refused_cell(key, "icer", plane.icer.reason, **shared)
        share = {"SE": plane.share_se, "NW": plane.share_nw}[plane.icer.quadrant]
        known = "" if share >= level else ", too few to say that it dominates"
        text = f"no ratio: in the estimate the service {words}, as in {100 * share:.0f}% of draws{known}"
        return refused_cell(key, "icer", text, **shared)
    cost, effect = found.psa.differences(WITH, WITHOUT)
    ends = compute_icer_interval(cost, effect, level=level, effect_unit=found.unit)
    return Cell(key, "icer", plane.icer.value, "statistic", unit=f"GBP per {found.unit}", lower=ends.lower,
                upper=ends.upper, level=level, reason=ends.reason, **shared)  # fmt: skip


def value_checks(draws: Sequence[ValueDraws]) -> list[Cell]:
    """What a reader must know of each thing valued before believing the plane."""
    cells = []
    for found in draws:
        checks = [Check("area_shocks", False, math.nan, AREA_SHOCKS_IN_DRAWS)]
        if found.recorded_share < 1:
            text = (
                f"{100 * found.recorded_share:.0f}% of the treated have an answer both before and after; the others "
                "are left out of cost and effect alike. People who are worse are often asked less."
            )
            checks.append(Check("recorded", found.recorded_share >= MIN_RECORDED, found.recorded_share, text))
        if found.valued.kind == "score" and not found.valued.is_qaly:
            text = "No mapping from this score to QALYs is given, so there are no QALYs and no threshold per QALY."
            checks.append(Check("no_mapping", None, math.nan, text))
        cells += check_cells(found.valued.key, checks)
    return cells


def acceptability_cells(draws: Sequence[ValueDraws], level: float) -> list[Cell]:
    """Probability, expected incremental net benefit and the value of perfect information at each threshold."""
    cells = []
    for found in draws:
        if found.psa is None:
            continue
        grid = found.thresholds_gbp
        curve = compute_acceptability(found.psa, grid)
        benefit = compute_incremental_benefit(found.psa, grid, target=WITH, reference=WITHOUT, level=level)
        shared = {"n_people": found.n_people, "label": f"{found.valued.label}"}
        for place, threshold in enumerate(grid):
            row = f"{found.valued.key}|{threshold:g}"
            best = "service" if curve.optimal[place] == 1 else "no service"
            cells += [
                Cell(row, "probability", float(curve.probability[place, 1]), "statistic", unit="share of draws",
                     **shared),
                Cell(row, "eib", float(benefit.value[place]), "mean", unit=UNIT, lower=float(benefit.lower[place]),
                     upper=float(benefit.upper[place]), level=level, **shared),
                Cell(row, "evpi", float(curve.evpi_gbp[place]), "mean", unit=UNIT, reason=best, **shared),
            ]  # fmt: skip
    return cells


def evppi_cells(study: Study, draws: Sequence[ValueDraws]) -> list[Cell]:
    """What it would be worth to know each input, at half the largest threshold."""
    cells = []
    for found in draws:
        if found.psa is None:
            continue
        threshold = float(found.thresholds_gbp[len(found.thresholds_gbp) // 2])
        rng = study.rng(f"evppi.{found.valued.key}")
        for name in found.psa.parameters.columns:
            row, label = f"{found.valued.key}|{name}", f"{name} ({found.valued.label}, at £{threshold:g})"
            shared = {"n_people": found.n_people, "label": label}
            try:
                one = compute_evppi(found.psa, [name], threshold, rng=rng)
            except NotEstimable as refusal:
                cells.append(refused_cell(row, "evppi", refusal.reason, **shared))
                continue
            cells.append(Cell(row, "evppi", one.value_gbp, "mean", unit=UNIT, **shared))
            if math.isfinite(one.share_of_evpi):
                cells.append(Cell(row, "share_of_evpi", one.share_of_evpi, "statistic", unit="share of EVPI", **shared))
    return cells


def tornado_cells(study: Study, findings: CostFindings) -> list[Cell]:
    """The difference in cost at the low and the high end of each price."""
    people, why = int(findings.found.treated.sum()), explain_withheld(findings.found)
    cells = []
    try:
        ends = compute_tornado(study, findings)
    except NotEstimable as refusal:
        return [refused_cell("all prices", "low", refusal.reason, n_people=people, label="All prices")]
    for r in ends.itertuples(index=False):
        name = str(r.parameter).removeprefix("part.")
        label = f"{name.capitalize()}: times {r.low:g} to {r.high:g}"
        for column, value in (("low", r.result_low), ("high", r.result_high)):
            shared = {"unit": UNIT, "n_people": people, "label": label}
            key = f"prices.{name}.{column}"
            if key in why:
                cells.append(
                    Cell(str(r.parameter), column, math.nan, "mean", status="refused", reason=why[key], **shared)
                )
            else:
                cells.append(Cell(str(r.parameter), column, float(value), "mean", **shared))
    return cells
