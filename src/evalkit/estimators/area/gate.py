"""Refuses a standard error that is known not to hold, and says what to use instead.

Measured on simulated panels with no effect: 33 units, 25 quarters (12 before), treatment at one time.
Percent of true nulls that nominal 5% rejects (CR1: 20,000 replicates, 40,000 at 4 to 6, Monte-Carlo error
0.15 to 0.3 points; two-way: 4,000, 0.4 to 0.7 points):

=====================  ====  ====  ====  ====  ====  ====  ====  ====  ====
two-way fixed effects  treated units
error, AR(1) rho          1     2     3     4     5     6     7     8    10
=====================  ====  ====  ====  ====  ====  ====  ====  ====  ====
CR1 t(G-1), 0.6        71.8  28.7  17.9  12.6  10.0   8.6   7.2   6.9   6.1
CR1 t(G-1), 0          72.1  28.9  17.7  12.4  10.0   8.3   7.4   6.7   5.9
two-way t(min-1), 0.6  68.4  29.6  17.4  11.9  10.4   8.6   6.8   6.7   5.6
two-way t(min-1), 0    61.7  31.6  21.1  14.8  13.8   9.8   8.5   8.8   6.4
=====================  ====  ====  ====  ====  ====  ====  ====  ====  ====

Five treated clusters stand on the line of 10% (10.0 +- 0.15 with 33 units; 11.1 +- 0.7 with 50; 13.8 with
two-way errors), so six are the fewest with which size is at most 10%; from ten it is 6%. With 50 units six
gave 8.3%, with 12 units 5.2%. Poisson regressions: one treated 69%, six 9.5 +- 0.6%, eight 6.5%, ten 6.5%.
Coefficients of an event study: one 72%, six 8.3%. What counts is the smaller side: the design is the same
with treated and untreated exchanged. Cluster-robust errors fail so because the residuals of few treated
clusters are fitted away (MacKinnon and Webb 2017, J. Applied Econometrics 32:233).

Errors that take no cluster fail for another reason, serial correlation, whatever the number of
treated units (same panels, 6,000 replicates, one / ten treated, percent):

==============  ==========  ==========  ==========  ==========  ==========
AR(1) rho             0         0.1         0.15        0.4         0.6
==============  ==========  ==========  ==========  ==========  ==========
iid              4.4 /  5.2   7.4 /  7.8   8.6 /  9.2  18.3 / 18.9  29.6 / 29.6
heterosked.      6.0 /  5.4   9.1 /  7.9  11.0 /  9.4  22.0 / 19.1  34.7 / 29.7
by period        4.3 /  5.2   7.1 /  7.3   8.7 /  8.9  19.3 / 19.1  31.4 / 31.5
Newey-West       7.8 /  4.8   9.2 /  5.4  10.0 /  6.0  15.2 /  9.2  23.6 / 14.5
Driscoll-Kraay   7.7 /  8.0   9.1 /  9.4   9.9 / 10.4  15.2 / 15.7  23.5 / 23.0
==============  ==========  ==========  ==========  ==========  ==========
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.result import Check

MIN_CLUSTERS = 6
COMFORTABLE_CLUSTERS = 10
ALTERNATIVES = (
    'Use estimate_did with errors="permutation" or "conley_taber" (with some treated clusters also "wild_bootstrap", '
    "which errs towards no finding), or estimate_synthetic_control with permutation or conformal inference."
)
Serial = Literal["iid", "heteroskedastic", "period", "newey_west", "driscoll_kraay"]
# Largest AR(1) of the residuals at which size stayed at about 10%: below COMFORTABLE_CLUSTERS treated, and from there.
MAX_AUTOCORRELATION: dict[Serial, tuple[float, float]] = {
    "iid": (0.15, 0.15),
    "heteroskedastic": (0.10, 0.15),
    "period": (0.15, 0.15),
    "newey_west": (0.15, 0.40),
    "driscoll_kraay": (0.10, 0.10),
}


def count_sides(starts: np.ndarray, clusters: np.ndarray) -> tuple[int, int]:
    """How many clusters hold treated units, and how many hold units to compare them with.

    Where no unit is never treated, those treated later stand for it: then a cluster is on the treated
    side if it adopts before the last, on the other if it adopts after the first.

    Parameters
    ----------
    starts : float array, shape (J,)
        Place of each unit's adoption; NaN for never.
    clusters : array, shape (J,)
    """
    never = np.isnan(starts)
    if never.any():
        treated, other = ~never, never
    else:
        treated, other = starts < starts.max(), starts > starts.min()
    return len(np.unique(clusters[treated])), len(np.unique(clusters[other]))


def refuse_few_treated(n_treated: int, n_untreated: int, *, asked: str) -> Check:
    """A check that there are clusters enough on both sides for an analytic cluster-robust error.

    The check passes with `COMFORTABLE_CLUSTERS` or more on the smaller side and fails below.

    Parameters
    ----------
    n_treated, n_untreated : int
        Clusters that hold treated units, and clusters that hold units to compare them with.
    asked : str
        What was asked for, in the words of the caller; it stands in the error.

    Raises
    ------
    NotEstimable
        Fewer than `MIN_CLUSTERS` on either side. The module's table holds the sizes behind both numbers.
    """
    fewest = min(n_treated, n_untreated)
    got = f"{n_treated} treated and {n_untreated} untreated clusters"
    if fewest < MIN_CLUSTERS:
        side = "treated" if n_treated <= n_untreated else "untreated"
        raise NotEstimable(
            Fault(
                asked,
                f"a cluster-robust error is far too small with so few {side} clusters: with one it rejects a true "
                "null about 72 times in 100, with five 10 to 14 times, where 5 are promised",
                got=got,
                allowed=f"{MIN_CLUSTERS} or more on each side",
                next_step=ALTERNATIVES,
            )
        )
    enough = fewest >= COMFORTABLE_CLUSTERS
    text = f"{got}; cluster-robust errors hold their level to within a point or so from {COMFORTABLE_CLUSTERS} a side."
    if not enough:
        text += f" With {MIN_CLUSTERS} a nominal 5% test rejects 8 to 10% of true nulls: set a permutation beside it."
    return Check("clusters_per_side", enough, float(fewest), text)


def check_autocorrelation(residuals: np.ndarray, *, errors: Serial, n_treated: int) -> Check:
    """Whether residuals are uncorrelated enough over time for an error that takes no account of clusters.

    The lag-one autocorrelation is pooled over units and corrected for the mean taken out of each:
    (r (T-1) + 1) / (T-2) (Nickell 1981, Econometrica 49:1417, to first order). A failed check means that the
    interval must be withheld: its level would be missed by more than five points on panels like those simulated.
    Below `MIN_CLUSTERS` treated units it always fails: Poisson noise over AR(1) shocks hides their correlation, and
    with one treated unit of 31 Newey-West then covered 80%, Driscoll-Kraay 72% (`make area-truth`).

    Parameters
    ----------
    residuals : float array, shape (J, T); NaN where a cell was left out
    """
    if residuals.shape[1] < 4:
        text = "Too few periods to see whether residuals are correlated over time, and this error assumes they are not."
        return Check("autocorrelation", False, float("nan"), text)
    filled = np.nan_to_num(residuals)
    known = ~np.isnan(residuals)
    pairs = known[:, 1:] & known[:, :-1]
    raw = (filled[:, 1:] * filled[:, :-1]).sum() / pairs.sum() / ((filled**2).sum() / known.sum())
    length = known.sum(axis=1).mean()
    found = float((raw * (length - 1) + 1) / (length - 2))
    if n_treated < MIN_CLUSTERS:
        text = (
            f"With {n_treated} treated units an error that takes no cluster fails where residuals hide their "
            f"correlation, as those of counts do: nominal 95% then covered as little as 72%. {ALTERNATIVES}"
        )
        return Check("autocorrelation", False, found, text)
    limit = MAX_AUTOCORRELATION[errors][0 if n_treated < COMFORTABLE_CLUSTERS else 1]
    text = f"Residuals of one unit and the next period correlate at {found:.2f}; this error needs at most {limit:.2f}."
    return Check("autocorrelation", found <= limit, found, text)
