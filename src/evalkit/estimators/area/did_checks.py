"""What a referee should be told beside an effect of two-way fixed effects."""

from __future__ import annotations

import math

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.result import Check
from evalkit.estimators.area.bacon import compute_bacon
from evalkit.estimators.area.did_cells import adoption_places
from evalkit.estimators.area.did_options import DidOptions
from evalkit.estimators.area.gate import Serial, check_autocorrelation
from evalkit.estimators.area.twfe import Cells, Family, Fit, default_lags

MIN_WILD = 4  # see the sizes in compute_wild_bootstrap
WITHHELD = (
    "No interval is given: the data show that what this error takes for granted does not hold. "
    'Use errors="cluster" with many treated clusters, "permutation" or "conley_taber" with few.'
)


def design_checks(panel: Panel, exposure: np.ndarray, kept: np.ndarray, options: DidOptions) -> tuple[Check, ...]:
    """How many periods lie before adoption, whether adoption is staggered, and what was left out.

    `exposure` and `kept` have shape (J, T).
    """
    before = int((kept & (exposure == 0))[panel.treated].sum(axis=1).min())
    text = f"Periods before adoption, at the least: {before}."
    if before < 2:
        text += " With one, nothing shows whether treated and untreated moved together before; this is an assumption."
    return (
        Check("periods_before", before >= 2, float(before), text),
        *_staggered_check(panel, options),
        *_partial_check(kept),
    )


def _staggered_check(panel: Panel, options: DidOptions) -> tuple[Check, ...]:
    starts = np.unique(panel.adoption[panel.treated])
    if len(starts) == 1:
        return ()
    text = f"Units adopt at {len(starts)} times, so units already treated stand as comparisons; where effects differ "
    text += "by group or time the number is no average of them. Use estimate_staggered."
    share = math.nan
    plain = np.all(panel.weights == panel.weights.flat[0]) and not options.covariates and options.exposure is None
    after, within = adoption_places(panel)
    plain = plain and (after == within)[panel.treated].all()
    if plain and options.family == "gaussian" and not options.anticipation_periods:
        table = compute_bacon(panel)
        share = float(table.loc[table["kind"] == "later_vs_earlier", "weight"].sum())
        text += f" Such comparisons carry {share:.0%} of the weight (compute_bacon)."
    return (Check("staggered_adoption", False, share, text),)


def _partial_check(kept: np.ndarray) -> tuple[Check, ...]:
    cells = int((~kept).sum())
    if not cells:
        return ()
    text = f"{cells} unit-periods in which adoption or anticipation falls belong neither before nor after."
    return (Check("cells_left_out", None, float(cells), text),)


def silent_check(silent: np.ndarray) -> tuple[Check, ...]:
    """That units or periods without any event were left out of a Poisson regression; `silent` bool (J, T)."""
    if not silent.any():
        return ()
    units, periods = int(silent.all(axis=1).sum()), int(silent.all(axis=0).sum())
    text = f"{units} units and {periods} periods without any event were left out: they say nothing of a ratio."
    return (Check("without_events", False, float(silent.sum()), text),)


def assumption_checks(options: DidOptions, fit: Fit, n_periods: int) -> tuple[Check, ...]:
    """What the error asked for takes for granted."""
    errors, lags = options.errors, default_lags(n_periods) if options.lags is None else options.lags
    t = f"t has {fit.df:.0f} degrees of freedom; small-sample convention {options.small_sample}."
    said = {
        "cluster": f"Errors of different clusters ({fit.n_clusters}, by {options.cluster_by}) are taken as "
        "independent, of one cluster as anyhow related.",
        "iid": "Errors are taken as independent and "
        + ("of one variance." if options.family == "gaussian" else "Poisson."),
        "heteroskedastic": "Errors are taken as independent over units and time.",
        "newey_west": f"Errors of different units are taken as independent, and of one unit as unrelated beyond {lags} "
        "lags; Newey and West need many periods.",
        "driscoll_kraay": f"Errors are taken as unrelated beyond {lags} lags, of different units as anyhow "
        "related; Driscoll and Kraay need many periods, and the number of units does not help.",
    }[errors]
    checks = [Check("error_assumptions", None, fit.df, f"{said} {t}")]
    few = errors == "driscoll_kraay" or (errors == "cluster" and options.cluster_by != "unit")
    if few and n_periods < 20:
        text = f"There are {n_periods} periods; errors summed over units by period have not been tried below 20."
        checks.append(Check("few_periods", False, float(n_periods), text))
    return tuple(checks)


def serial_check(panel: Panel, cells: Cells, kept: np.ndarray, fit: Fit, *, family: Family, errors: Serial) -> Check:
    """Whether residuals (Pearson's with Poisson) are too correlated over time for this error."""
    residuals = fit.residuals
    if family == "poisson":
        residuals = residuals / np.sqrt(np.maximum(cells.outcome - residuals, 1e-12))
    grid = np.full(kept.shape, np.nan)
    grid[kept] = residuals
    return check_autocorrelation(grid, errors=errors, n_treated=int(panel.treated.sum()))


def counts_check(panel: Panel, *, family: Family) -> tuple[Check, ...]:
    """A failed check where outcomes are counts, or rates of counts, and the error takes no cluster.

    Poisson noise hides the correlation of what lies under it from `serial_check`: with 8 to 12 of 38 areas treated,
    Newey-West and Driscoll-Kraay covered 81 to 90% of counts at AR(1) 0.8 (`make area-truth`).
    """
    if family == "gaussian" and np.all(panel.denominator == panel.denominator.flat[0]):
        return ()
    text = "Counts hide their correlation over time from this error, which covered as little as 81% of them at 95%."
    return (Check("counts_hide_correlation", False, math.nan, text),)


def wild_check(n_treated: int, n_untreated: int) -> Check:
    """Whether there are clusters enough on both sides for the restricted wild bootstrap to have power."""
    fewest = min(n_treated, n_untreated)
    text = f"{n_treated} treated and {n_untreated} untreated clusters."
    if fewest < MIN_WILD:
        text += (
            f" Below {MIN_WILD} on a side the restricted wild bootstrap hardly ever rejects (a true null 0 to 2% of the"
        )
        text += " time where 5 are promised), so that its interval is far wider than it need be."
    return Check("wild_bootstrap_power", fewest >= MIN_WILD, float(fewest), text)


def alike_check(panel: Panel) -> Check:
    """That untreated units must be of a kind with the treated, and how their sizes compare."""
    size = panel.denominator.mean(axis=1)
    ratio = float(size[panel.treated].mean() / size[~panel.treated].mean())
    text = "Untreated units stand for the treated ones' spread, so they should be alike, in size above all."
    if not np.allclose(size, size[0]):
        text += f" Denominators of the treated are {ratio:.2f} times those of the untreated."
    return Check("alike_units", None if 0.5 <= ratio <= 2 else False, ratio, text)


def late_reference_check(panel: Panel, reference: int) -> tuple[Check, ...]:
    """That some treated units lack the period against which an event study measures."""
    _, within = adoption_places(panel)
    lacking = int((within[panel.treated] + reference < 0).sum())
    if not lacking:
        return ()
    text = (
        f"{lacking} treated units have no period {-reference} before adoption, which the others are measured against."
    )
    return (Check("reference_period", False, float(lacking), text),)
