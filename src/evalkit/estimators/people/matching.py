"""Matching treated people with comparison people: nearest neighbour, optimal pairs, full and exact matching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import sparse, special
from scipy.sparse.csgraph import connected_components

from evalkit.cohort.comparison import Comparison
from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name
from evalkit.core.faults import is_finite, refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.estimators.people.matching_optimal import find_full_sets, find_optimal_pairs, refuse_large
from evalkit.estimators.people.matching_search import Search, find_on_covariates, find_on_score, find_on_score_again
from evalkit.estimators.people.weighting import compute_effective_size, estimate_propensity, hide_few

Method = Literal["nearest", "optimal", "full", "exact"]
Distance = Literal["propensity", "linear_propensity", "mahalanobis"]
Replace = Literal["with", "without"]
Order = Literal["largest", "smallest", "random", "data"]
_DECIMALS = 11  # equal people must have equal scores, whatever the order of a sum


@dataclass(frozen=True)
class MatchOptions:
    """How to match.

    Attributes
    ----------
    ratio : comparison people for each treated person (nearest and optimal)
    replace : "with" lets a comparison person be a match of several (nearest only)
    caliper : greatest difference, in standard deviations of the propensity (of its logit with "linear_propensity")
        over all people, as MatchIt's `std.caliper`; None for no limit
    exact : covariates that must be equal within a pair, by the names of the columns that the comparison was built from
    order : whom greedy matching serves first: those of largest or smallest propensity, at random, or as they come
    """

    method: Method = "nearest"
    ratio: int = 1
    replace: Replace = "without"
    caliper: float | None = None
    distance: Distance = "propensity"
    exact: tuple[str, ...] = ()
    order: Order = "largest"


@dataclass(frozen=True)
class Matching:
    """Who was matched with whom, and the weights for the effect on the treated.

    Attributes
    ----------
    pairs : int array, shape (m, 2), places of the treated and of the comparison person; for exact matching and given
        subclasses just as many as hold each subclass together
    subclass : int array, shape (n,), from 0; -1 for people who were not matched, and for all with replacement,
        where sets overlap
    weights : float array, shape (n,): 1 for matched treated people; comparison people share the weight of those they
        are matched with, and have mean 1; 0 for people who were not matched. Sampling weights are not in them.
    distance, propensity : float arrays, shape (n,), the score that was matched on and the propensity; NaN where none
        was fitted
    """

    pairs: np.ndarray
    subclass: np.ndarray
    weights: np.ndarray
    distance: np.ndarray
    propensity: np.ndarray
    checks: tuple[Check, ...]

    @classmethod
    def from_subclasses(cls, comparison: Comparison, subclass: np.ndarray) -> Matching:
        """A matching made elsewhere: subclass (n,), int codes with -1 for people who were not matched.

        Raises ParameterError where the length is another, and NotEstimable where no subclass has both sides.
        Subclasses with one side only are left out, which a check shows.
        """
        given = np.asarray(subclass)
        if given.shape != (len(comparison),) or not np.issubdtype(given.dtype, np.integer):
            raise ParameterError(Fault("subclass", "one whole number a person is needed", str(given.shape)))
        nan = np.full(len(given), np.nan)
        return _build(comparison, _pairs_within(comparison.treated, given), (nan, nan), "without")


def match(
    comparison: Comparison, *, options: MatchOptions = MatchOptions(), rng: np.random.Generator | None = None
) -> Matching:
    """Match comparison people to the treated, as MatchIt 4.7.0; for the effect on the treated.

    The propensity is logistic with sampling weights. Nearest neighbour is greedy; ties go to the person below in the
    order of propensities, then of the data. Mahalanobis distances use the covariance pooled within sides. Optimal
    pairs and full matching are exact optima (R's optmatch stops within a tolerance of it). Treated people without a
    match are left out, and a failed check says that the effect is no longer of all treated.

    Raises
    ------
    ParameterError
        Options out of range, that do not go together, or unknown covariates; random order without `rng`.
    NotEstimable
        Nobody can be matched; a covariate separates the sides; too many distances for an optimum.

    References
    ----------
    Stuart 2010, Statistical Science 25:1; Ho, Imai, King and Stuart 2011, JSS 42(8); Hansen 2004, JASA 99:609.
    """
    _check_options(comparison, options, rng)
    treated = comparison.treated
    stratum = _strata(comparison, options.exact)
    if options.method == "exact":
        nan = np.full(len(treated), np.nan)
        return _build(comparison, _pairs_within(treated, stratum), (nan, nan), "without")
    propensity = estimate_propensity(comparison)
    distance = special.logit(propensity) if options.distance == "linear_propensity" else propensity
    score = np.round(distance, _DECIMALS)
    # The caliper, like all distances, is good to the last decimals that are kept.
    reach = np.inf if options.caliper is None else options.caliper * distance.std(ddof=1) + 10.0**-_DECIMALS
    z = _whiten(comparison) if options.distance == "mahalanobis" else None
    turn = np.empty(len(treated), dtype=np.int64)
    turn[_order(score, treated, options, rng)] = np.arange(treated.sum())
    parts = []
    for code in np.unique(stratum[treated]):
        people = np.flatnonzero(stratum == code)
        side = treated[people]
        if side.all():
            continue
        chooser = np.flatnonzero(side)
        search = Search(chooser[np.argsort(turn[people[side]])], options.ratio, float(reach))
        parts.append(people[_match_stratum(score[people], None if z is None else z[people], side, search, options)])
    pairs = np.concatenate([np.empty((0, 2), np.int64), *parts])
    return _build(comparison, pairs, (distance, propensity), options.replace)


def _match_stratum(
    score: np.ndarray, z: np.ndarray | None, side: np.ndarray, search: Search, options: MatchOptions
) -> np.ndarray:
    """Pairs (k, 2) of places within one exact stratum."""
    if options.method == "nearest":
        if z is not None:
            return find_on_covariates(z, score, side, search, reuse=options.replace == "with")
        find = find_on_score_again if options.replace == "with" else find_on_score
        return find(score, side, search)
    one, nought = np.flatnonzero(side), np.flatnonzero(~side)
    refuse_large((len(one) * options.ratio, len(nought)))
    apart = np.abs(score[one][:, None] - score[nought])
    gaps = apart
    if z is not None:
        a, b = z[one], z[nought]
        square = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
        gaps = np.sqrt(np.maximum(square, 0.0))
    gaps = np.where(apart <= search.reach, gaps, np.inf)
    found = find_optimal_pairs(gaps, options.ratio) if options.method == "optimal" else find_full_sets(gaps)
    return np.column_stack([one[found[:, 0]], nought[found[:, 1]]])


def _order(
    score: np.ndarray, treated: np.ndarray, options: MatchOptions, rng: np.random.Generator | None
) -> np.ndarray:
    """Treated places in the order in which they are served, shape (m,)."""
    people = np.flatnonzero(treated)
    if options.order == "random":
        return rng.permutation(people)
    key = {"largest": -score[people], "smallest": score[people], "data": people}[options.order]
    return people[np.argsort(key, kind="stable")]


def _whiten(comparison: Comparison) -> np.ndarray:
    """Covariates in which Euclidean distance is Mahalanobis distance, shape (n, p)."""
    x, treated = comparison.covariates, comparison.treated
    centred = np.where(treated[:, None], x - x[treated].mean(axis=0), x - x[~treated].mean(axis=0))
    spread = np.sqrt((centred**2).sum(axis=0) / (len(x) - 2))
    scale = np.where(spread > 0, spread, 1.0)
    pooled = (centred / scale).T @ (centred / scale) / (len(x) - 2)
    values, vectors = np.linalg.eigh(pooled)
    good = values > 1e-10 * values.max(initial=0.0)
    return (x - x.mean(axis=0)) / scale @ (vectors[:, good] / np.sqrt(values[good]))


def _strata(comparison: Comparison, exact: tuple[str, ...]) -> np.ndarray:
    """Codes (n,) of people who are equal in the named covariates; text covariates by all their columns."""
    columns = [j for name in exact for j in _columns(comparison, name)]
    if not columns:
        return np.zeros(len(comparison), dtype=np.int64)
    return np.unique(comparison.covariates[:, columns], axis=0, return_inverse=True)[1].reshape(-1)


def _columns(comparison: Comparison, name: str) -> list[int]:
    return [j for j, own in enumerate(comparison.names) if own == name or own.startswith(f"{name}=")]


def _check_options(comparison: Comparison, options: MatchOptions, rng: np.random.Generator | None) -> None:
    o, faults = options, []
    for name, kinds in (("method", Method), ("distance", Distance), ("replace", Replace), ("order", Order)):
        if getattr(o, name) not in get_args(kinds):
            faults.append(Fault(name, "this choice is not known", str(getattr(o, name)), ", ".join(get_args(kinds))))
    wrong = whole_faults("ratio", o.ratio, least=1)
    faults += wrong
    if not wrong and o.ratio > 1 and o.method in ("full", "exact"):
        faults.append(Fault("ratio", f'with method="{o.method}" sets are as large as they come', str(o.ratio), "1"))
    if o.caliper is not None and not (is_finite(o.caliper) and o.caliper > 0):
        faults.append(Fault("caliper", "out of range", str(o.caliper), "above 0, in standard deviations"))
    if o.replace == "with" and o.method != "nearest":
        faults.append(Fault("replace", f'does not go with method="{o.method}"', "with", "without"))
    if o.method == "exact" and not o.exact:
        faults.append(Fault("exact", "no covariate is named to match on exactly"))
    if o.method == "exact" and o.caliper is not None:
        faults.append(Fault("caliper", "exact matching has no distance"))
    for name in o.exact:
        if not _columns(comparison, name):
            known = list(dict.fromkeys(own.split("=")[0] for own in comparison.names))
            faults.append(Fault("exact", f'there is no covariate "{name}"', next_step=suggest_name(name, known)))
    if o.order == "random":
        faults += rng_faults(rng)
    refuse(faults)


def _pairs_within(treated: np.ndarray, subclass: np.ndarray) -> np.ndarray:
    """One pair for each edge of a star or chain that holds every subclass together, shape (k, 2).

    Not all pairs: a large subclass would have too many, and the weights need the sets alone.
    """
    pairs = [np.empty((0, 2), dtype=np.int64)]
    order = np.argsort(subclass, kind="stable")
    codes, starts = np.unique(subclass[order], return_index=True)
    for code, people in zip(codes, np.split(order, starts[1:]), strict=True):
        one, nought = people[treated[people]], people[~treated[people]]
        if code >= 0 and len(one) and len(nought):
            pairs.append(np.column_stack([one, np.full(len(one), nought[0])]))
            pairs.append(np.column_stack([np.full(len(nought) - 1, one[0]), nought[1:]]))
    return np.concatenate(pairs)


def _build(
    comparison: Comparison, pairs: np.ndarray, scores: tuple[np.ndarray, np.ndarray], replace: Replace
) -> Matching:
    """Subclasses, weights and checks from the pairs; scores are the distance and the propensity."""
    treated = comparison.treated
    if not len(pairs):
        raise NotEstimable(
            Fault("matching", "nobody on one side is like anybody on the other",
                  next_step="Widen the caliper, or match exactly on fewer fields.")
        )  # fmt: skip
    n = len(treated)
    if replace == "with":
        subclass, weights = np.full(n, -1), _weights_again(pairs, n)
    else:
        subclass = _sets(pairs, n)
        weights = _weights_of_sets(treated, subclass)
    return Matching(pairs, subclass, weights, *scores, _checks(treated, weights))


def _sets(pairs: np.ndarray, n: int) -> np.ndarray:
    """Connected sets of matched people, numbered from 0 in the order of the data; -1 for the others."""
    edges = sparse.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    label = connected_components(edges, directed=False)[1]
    matched = np.zeros(n, dtype=bool)
    matched[pairs] = True
    subclass = np.full(n, -1)
    _, first, code = np.unique(label[matched], return_index=True, return_inverse=True)
    subclass[matched] = np.argsort(np.argsort(first))[code]
    return subclass


def _weights_of_sets(treated: np.ndarray, subclass: np.ndarray) -> np.ndarray:
    """1 for treated; treated over comparison people of the set, scaled to mean 1, for the others; shape (n,)."""
    inside = subclass >= 0
    ones = np.bincount(subclass[inside & treated], minlength=subclass.max() + 1)
    noughts = np.bincount(subclass[inside & ~treated], minlength=subclass.max() + 1)
    weights = inside.astype(np.float64)
    others = inside & ~treated
    weights[others] = (ones / noughts)[subclass[others]]
    weights[others] /= weights[others].mean()
    return weights


def _weights_again(pairs: np.ndarray, n: int) -> np.ndarray:
    """The same with replacement: each treated person's weight of 1 is shared by its matches, shape (n,)."""
    given = np.bincount(pairs[:, 0], minlength=n)
    weights = np.bincount(pairs[:, 1], weights=1.0 / given[pairs[:, 0]], minlength=n)
    weights[weights > 0] /= weights[weights > 0].mean()
    weights[given > 0] = 1.0
    return weights


def _checks(treated: np.ndarray, weights: np.ndarray) -> tuple[Check, ...]:
    lost = int((treated & (weights == 0)).sum())
    used = int((~treated & (weights > 0)).sum())
    size = compute_effective_size(weights[~treated])
    text = "Some of the treated found no match: the effect is of those who did, not of all treated."
    text = text if lost else "All of the treated found a match."
    return (
        Check("matched_treated", lost == 0, hide_few(lost, lost), text),
        Check("matched_comparison", None, hide_few(used, used), "People of the other side who are matches."),
        Check("effective_sample_comparison", None, hide_few(size, used),
              "The effective sample of the matches, some of whom may count more than once."),
    )  # fmt: skip
