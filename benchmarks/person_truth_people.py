"""Worlds of the person-level truth run with one outcome a person: confounding, hidden traits, clusters, gaps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from person_truth_types import Entrant, Found, World, found_of, found_of_difference, name_estimand, or_refused

from evalkit.cohort.comparison import Comparison
from evalkit.estimators.people.impute import ImputeOptions, impute_missing
from evalkit.estimators.people.matching import MatchOptions, match
from evalkit.estimators.people.matching_effect import MatchedEffectOptions, estimate_matched_effect
from evalkit.estimators.people.person_effects import EffectOptions, estimate_effect
from evalkit.estimators.people.rubin import pool_imputations
from evalkit.estimators.people.weighting import WeightOptions
from evalkit.simulate.person_worlds import OutcomeKind, PeopleSettings, covariate_names, simulate_people

EFFECTS: dict[OutcomeKind, float] = {"binary": -0.7, "continuous": -0.4, "count": -0.35}
ENTROPY = WeightOptions(method="entropy")
IMPUTATIONS = 10


def draw_people(outcome: OutcomeKind, **changes: float | str) -> Callable:
    def draw(people: int, effect: int, rng: np.random.Generator) -> tuple[dict, dict[str, float]]:
        size = EFFECTS[outcome] if effect else 0.0
        settings = PeopleSettings(people=people, outcome=outcome, effect=size, treated_share=0.4, **changes)
        frame, truth = simulate_people(settings, rng=rng)
        return {"frame": frame, "settings": settings}, truth

    return draw


def build_comparison(data: dict, *, clustered: str = "yes") -> Comparison:
    settings = data["settings"]
    return Comparison.from_frame(
        data["frame"], treatment="treated", covariates=covariate_names(settings), outcome="outcome", before="before",
        cluster="cluster" if settings.clusters and clustered == "yes" else None,
        person_time="person_time" if settings.outcome == "count" else None,
    )  # fmt: skip


def run_effects(data: dict, *, of: tuple[str, ...], options: EffectOptions, clustered: str = "yes") -> dict[str, Found]:
    """One estimate for each `contrast.scale` of `of`."""
    comparison = build_comparison(data, clustered=clustered)
    return {
        name_measure(key): or_refused(partial(
            estimate_effect, comparison, name_estimand(key.split(".")[1], key.split(".")[0]), options=options,
            rng=data["rng"],
        ))
        for key in of
    }  # fmt: skip


def run_matching(data: dict, *, of: str, options: MatchOptions, adjustment: str) -> dict[str, Found]:
    comparison = build_comparison(data)
    matching = match(comparison, options=options)
    found = estimate_matched_effect(
        comparison,
        matching,
        name_estimand(of.split(".")[1], "ATT"),
        options=MatchedEffectOptions(adjustment=adjustment),
    )
    return {name_measure(of): found_of(found)}


def run_unweighted(data: dict, *, of: str) -> dict[str, Found]:
    """The plain difference of means, as if people had been randomised."""
    frame = data["frame"]
    one, none = (frame.loc[frame["treated"] == side, "outcome"] for side in (1, 0))
    se = np.hypot(one.std() / np.sqrt(len(one)), none.std() / np.sqrt(len(none)))
    return {name_measure(of): found_of_difference(one.mean() - none.mean(), se)}


def run_imputed(data: dict, *, of: str, options: EffectOptions) -> dict[str, Found]:
    settings = data["settings"]
    frames = impute_missing(
        data["frame"], columns=("treated", *covariate_names(settings), "outcome"),
        options=ImputeOptions(imputations=IMPUTATIONS, iterations=5), rng=data["rng"],
    )  # fmt: skip
    contrast, scale = of.split(".")
    found = [
        estimate_effect(build_comparison({**data, "frame": frame}), name_estimand(scale, contrast), options=options)
        for frame in frames
    ]
    return {name_measure(of): found_of(pool_imputations(found))}


def run_complete(data: dict, *, of: str, options: EffectOptions) -> dict[str, Found]:
    """Those alone of whom all is known."""
    return run_effects({**data, "frame": data["frame"].dropna()}, of=(of,), options=options)


def name_measure(key: str) -> str:
    return key.replace(".", " ").replace("_", " ")


def _enter(name: str, of: tuple[str, ...], run: Callable = run_effects, **given: object) -> Entrant:
    """An entrant whose measures are `of`; `share` and `fails` are its own, all else is passed to `run`."""
    own = {key: given.pop(key) for key in ("share", "fails") if key in given}
    asked = of if run is run_effects else of[0]
    return Entrant(name, {name_measure(key): key for key in of}, partial(run, of=asked, **given), **own)


def _by(method: str, **changes: object) -> EffectOptions:
    return EffectOptions(method=method, **changes)


def build_people_worlds() -> tuple[World, ...]:
    return (
        *_plain_worlds(), *_wrong_worlds(), *_hidden_worlds(), _clustered_world(), _overlap_world(), _missing_world()
    )  # fmt: skip


def _plain_worlds() -> tuple[World, ...]:
    risks = ("ATT.risk_difference", "ATE.risk_ratio", "ATT.odds_ratio")
    all_four = ("ATT.risk_difference", "ATC.risk_difference", "ATE.risk_difference", "ATO.risk_difference")
    att = ("ATT.risk_difference",)
    rates = ("ATT.rate_ratio", "ATE.rate_ratio")
    nearest, full = MatchOptions(), MatchOptions(method="full")
    again = MatchOptions(replace="with")
    return (
        World(
            "people_binary", "People of whom the worse are treated, models right; odds ratio 0.5 or none",
            draw_people("binary", covariates=7),
            (
                _enter("g-computation", risks, options=_by("gcomp")),
                _enter("weighting", (*all_four, *risks[1:]), options=_by("ipw")),
                _enter("entropy balancing", att, options=_by("ipw", weights=ENTROPY)),
                _enter("AIPW", (*all_four, *risks[1:]), options=_by("aipw")),
                _enter("AIPW, 5 folds", risks, options=_by("aipw", folds=5)),
                _enter("AIPW, bootstrap", att, options=_by("aipw", errors="bootstrap", replicates=200), share=0.25),
                _enter("TMLE", risks, options=_by("tmle")),
                _enter("nearest, adjusted", att, run_matching, options=nearest, adjustment="interacted"),
                _enter("nearest with replacement, adjusted", att, run_matching, options=again, adjustment="interacted"),
                _enter("full matching, adjusted", att, run_matching, options=full, adjustment="interacted"),
                _enter("nearest, not adjusted", att, run_matching, options=nearest, adjustment="none", fails=True),
                _enter("unweighted", att, run_unweighted, fails=True),
            ),
        ),
        World(
            "people_count", "Counts with person-time and frailty, worse people treated; rate ratio about 0.7 or none",
            draw_people("count"),
            (
                _enter("g-computation", rates, options=_by("gcomp")),
                _enter("weighting", rates, options=_by("ipw")),
                _enter("AIPW", rates, options=_by("aipw")),
            ),
        ),
    )  # fmt: skip


def _wrong_worlds() -> tuple[World, ...]:
    of = ("ATT.mean_difference", "ATE.mean_difference")
    boosted = EffectOptions(
        method="aipw", folds=5, outcome_model="boosted", weights=WeightOptions(method="boosted", folds=5)
    )
    worlds = []
    for which, words in (
        ("outcome", "outcome model wrong"), ("propensity", "propensity wrong"), ("both", "both models wrong"),
    ):  # fmt: skip
        out, score = which in ("outcome", "both"), which in ("propensity", "both")
        entrants = [
            _enter("g-computation", of, options=_by("gcomp"), fails=out),
            _enter("weighting", of, options=_by("ipw"), fails=score),
            _enter("AIPW", of, options=_by("aipw"), fails=which == "both"),
            _enter("TMLE", of, options=_by("tmle"), fails=which == "both"),
        ]
        if which == "both":
            entrants.append(_enter("AIPW, boosted, 5 folds", of, options=boosted, share=0.2))
        title = f"Continuous outcome, {words}; difference -0.4 or none"
        worlds.append(
            World(f"people_wrong_{which}", title, draw_people("continuous", nonlinear=which), tuple(entrants))
        )
    return tuple(worlds)


def _hidden_worlds() -> tuple[World, ...]:
    worlds = []
    for outcome, key in (
        ("continuous", "ATT.mean_difference"), ("binary", "ATT.risk_difference"), ("count", "ATT.rate_ratio")
    ):  # fmt: skip
        entrants = [
            _enter(f"difference-in-differences, {words}", (key,), options=_by(f"did_{way}"))
            for way, words in (("gcomp", "g-computation"), ("ipw", "weighting"), ("aipw", "AIPW"))
        ]
        entrants.append(_enter("AIPW, after alone", (key,), options=_by("aipw"), fails=True))
        title = f"A hidden trait draws people in, {outcome} outcome before and after"
        worlds.append(World(f"people_hidden_{outcome}", title, draw_people(outcome, hidden=1.0), tuple(entrants)))
    return tuple(worlds)


def _clustered_world() -> World:
    of = ("ATT.mean_difference",)
    return World(
        "people_clusters", "Continuous outcome, people in 30 teams that differ in outcome and in use of the service",
        draw_people("continuous", clusters=30, cluster_sd=1.0),
        (
            _enter("weighting", of, options=_by("ipw")),
            _enter("AIPW", of, options=_by("aipw")),
            _enter("AIPW, bootstrap", of, options=_by("aipw", errors="bootstrap", replicates=200), share=0.25),
            _enter("AIPW, as if independent", of, options=_by("aipw"), clustered="no", fails=True),
        ),
    )  # fmt: skip


def _overlap_world() -> World:
    of = ("ATT.risk_difference", "ATE.risk_difference", "ATO.risk_difference")
    return World(
        "people_overlap", "Hardly any overlap (selection three times as strong), binary outcome",
        draw_people("binary", selection=3.0),
        (
            _enter("g-computation", of, options=_by("gcomp")),
            _enter("weighting", of, options=_by("ipw")),
            _enter("AIPW", of, options=_by("aipw")),
            _enter("TMLE", of[:2], options=_by("tmle")),
        ),
    )  # fmt: skip


def _missing_world() -> World:
    of = ("ATT.mean_difference",)
    return World(
        "people_missing", "Three in ten severities missing, more often of the old and of the treated who did badly",
        draw_people("continuous", missing=0.3),
        (
            _enter("AIPW, multiple imputation", of, run_imputed, options=_by("aipw")),
            _enter("AIPW, complete people", of, run_complete, options=_by("aipw"), fails=True),
        ),
    )  # fmt: skip
