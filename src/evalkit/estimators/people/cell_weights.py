"""Weights that make three cells of a before-and-after comparison look like the treated after, and their draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.cohort.frames import how_many
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.estimators.people.logistic import add_intercept, find_redundant, fit_logistic, fit_logistic_draws
from evalkit.estimators.people.overlap import AREA_SHOCKS, CELLS, MIN_OVERLAP, SMD_LIMIT, compute_largest_smd

MIN_CELL = 10
MIN_FITTED = 0.9
CONTRAST = np.array([1.0, -1.0, -1.0, 1.0])  # of the cells in their order


@dataclass(frozen=True)
class CellWeights:
    """Weights of n rows, once for the data and once for each of B resamplings of people.

    `base` (n,), `draws` (B, n); `counts` (B, n) how often each row was drawn; `cell` (n,) places in `overlap.CELLS`;
    `balance` one row a covariate with its largest standardised difference between cells, unweighted and weighted.
    `refitted` is the share of the fits to resamplings that could be had; in the others the data's coefficients stand.
    Weights sum to what they will: each cell is used by its own total.
    """

    base: np.ndarray
    draws: np.ndarray
    counts: np.ndarray
    cell: np.ndarray
    balance: pd.DataFrame
    refitted: float = 1.0

    @property
    def all(self) -> np.ndarray:
        """The weights of the data, then of the draws, shape (1 + B, n)."""
        return np.vstack([self.base, self.draws])

    @property
    def unweighted(self) -> np.ndarray:
        """The same draws without balancing, shape (1 + B, n)."""
        return np.vstack([np.ones_like(self.base), self.counts])

    @property
    def effective_share(self) -> np.ndarray:
        """Kish's effective sample size of each cell over its size, shape (4,)."""
        inside = [self.base[self.cell == k] for k in range(len(CELLS))]
        return np.array([w.sum() ** 2 / (w**2).sum() / len(w) for w in inside])

    @property
    def checks(self) -> tuple[Check, ...]:
        """Balance, overlap and what the interval cannot see."""
        worst, share = float(self.balance["weighted"].max()), float(self.effective_share.min())
        return (
            Check("balance", worst <= SMD_LIMIT, worst,
                  f"The largest standardised difference left after weighting is {worst:.3f}; {SMD_LIMIT} or less is "
                  "wanted."),
            Check("overlap", share >= MIN_OVERLAP, share,
                  f"Where weights vary most the effective sample is {share:.0%} of its size; {MIN_OVERLAP:.0%} or more "
                  "is wanted."),
            Check("area_shocks", False, float("nan"), AREA_SHOCKS),
            *self._lost_fits(),
        )  # fmt: skip

    def _lost_fits(self) -> tuple[Check, ...]:
        if self.refitted == 1:
            return ()
        text = (
            f"In {1 - self.refitted:.1%} of the fits to resamplings the weights' model is the data's: errors are low."
        )
        return (Check("refitted", False, self.refitted, text),)


def build_cell_weights(
    covariates: pd.DataFrame, cell: np.ndarray, person: np.ndarray, *, replicates: int, rng: np.random.Generator
) -> CellWeights:
    """Weigh each cell by the odds of being treated-after rather than in it, fitted anew in every resampling.

    The treated after weigh 1, so effects are on the treated (ATT); cell c weighs e(x) / (1 - e(x)), with e the
    logistic probability of being treated-after among the two. People are drawn with all their rows, those ever
    in the treated area apart from the others. A draw in which a
    covariate separates two cells keeps the coefficients of the data; a failed check "refitted" says how often.
    Results depend on the order of `person`'s values, not on that of the rows.

    Parameters
    ----------
    covariates : DataFrame of numbers, shape (n, p), finite; constant or redundant columns are not used
    cell : int array, shape (n,), 0 to 3 in the order of `overlap.CELLS`
    person : array, shape (n,), who each row is of

    Raises
    ------
    ParameterError
        Covariates that are missing, infinite or no numbers, cells other than 0 to 3, rows of nobody, lengths that
        differ, fewer than 2 replicates, no `rng`.
    NotEstimable
        A cell has fewer than `MIN_CELL` people, a covariate separates cells, or a tenth of the draws or more cannot
        be fitted.

    References
    ----------
    Hirano, Imbens and Ridder 2003, Econometrica 71:1161 (odds weights); Efron and Tibshirani 1993, chapter 6.
    """
    cell, person = np.asarray(cell), np.asarray(person)
    refuse(_input_faults(covariates, cell, person, replicates, rng))
    cell = cell.astype(np.int64)
    thin = [CELLS[k] for k in range(len(CELLS)) if len(np.unique(person[cell == k])) < MIN_CELL]
    if thin:
        raise NotEstimable(Fault("cells", f"too few people: {', '.join(thin)}", allowed=f"{MIN_CELL} or more"))
    counts = draw_people(cell, person, replicates, rng)
    weights, shares = np.vstack([np.ones(len(cell)), counts]), []
    for k in range(1, len(CELLS)):
        pair = np.flatnonzero((cell == 0) | (cell == k))
        x, names = _design(covariates.to_numpy(dtype=np.float64)[pair], tuple(map(str, covariates.columns)))
        y = (cell[pair] == 0).astype(np.float64)
        fit_logistic(x, y, names=names)  # for its refusals, which name the covariate
        fits = fit_logistic_draws(x, y, weights[:, pair])
        if fits.fitted.mean() < MIN_FITTED or not fits.fitted[0]:
            raise NotEstimable(Fault(
                "cells", f"characteristics all but tell the treated after from {CELLS[k]}: they cannot be compared",
                next_step="Use fewer covariates or a wider population.",
            ))  # fmt: skip
        shares.append(float(fits.fitted[1:].mean()))
        own = cell[pair] == k
        linear = np.where(fits.fitted[:, None], fits.coefficients, fits.coefficients[0]) @ x[own].T
        weights[:, pair[own]] *= np.exp(np.clip(linear, -30.0, 30.0))
    x = covariates.to_numpy(dtype=np.float64)
    balance = pd.DataFrame({
        "covariate": covariates.columns,
        "unweighted": compute_largest_smd(x, cell, np.ones(len(cell))),
        "weighted": compute_largest_smd(x, cell, weights[0]),
    })  # fmt: skip
    return CellWeights(weights[0], weights[1:], counts, cell, balance, float(np.mean(shares)))


def _input_faults(
    covariates: pd.DataFrame, cell: np.ndarray, person: np.ndarray, replicates: int, rng: np.random.Generator
) -> list[Fault]:
    if not isinstance(covariates, pd.DataFrame) or not covariates.columns.is_unique:
        return [Fault("covariates", "a DataFrame is wanted, with columns of different names")]
    faults = [*whole_faults("replicates", replicates, least=2), *rng_faults(rng)]
    if not len(covariates) == len(cell) == len(person):
        faults.append(Fault("cells", "covariates, cells and people differ in length",
                            f"{len(covariates)}, {len(cell)} and {len(person)} rows"))  # fmt: skip
    bad = ~np.isin(cell, np.arange(len(CELLS)))
    if bad.any():
        faults.append(Fault("cell", f"{how_many(int(bad.sum()))} are in no cell", allowed="0 to 3"))
    nobody = pd.isna(person)
    if nobody.any():
        faults.append(Fault("person", f"{how_many(int(nobody.sum()))} are of nobody"))
    for name in covariates.columns:
        values = pd.to_numeric(covariates[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        if not np.isfinite(values).all():
            count = how_many(int((~np.isfinite(values)).sum()))
            faults.append(Fault(str(name), f"{count} are missing, infinite or not a number"))
    return faults


def draw_people(cell: np.ndarray, person: np.ndarray, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each row is drawn when people are, shape (replicates, n)."""
    who, code = np.unique(person, return_inverse=True)
    ever = np.zeros(len(who), dtype=bool)
    ever[code[cell < 2]] = True
    counts = np.zeros((replicates, len(who)))
    for side in (ever, ~ever):
        people = np.flatnonzero(side)
        if len(people):
            counts[:, people] = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), size=replicates)
    return counts[:, code]


def _design(x: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    spread = x.std(axis=0)
    kept = spread > 0
    z = add_intercept((x[:, kept] - x[:, kept].mean(axis=0)) / spread[kept])
    useful = ~find_redundant(z)
    left = np.array(["intercept", *np.array(names, dtype=object)[kept]], dtype=object)
    return z[:, useful], tuple(left[useful])
