"""Synthetic controls on Proposition 99 and the Basque Country against R, and a second implementation.

Sources: `sc_prop99` (R synthdid 0.0.9, Synth 1.1-8, quadprog) and `sc_basque` (R Synth 1.1-8, quadprog), one case a
number. R's synthdid stops its Frank-Wolfe search early, which moves SC by up to 0.15 and SDID by 0.02 (README of the
data sets); the exact optima (`sdid_exact`, `outcome_only_sc`, `fixedV_qp`) are held to 1e-6. That nothing but R's
stopping rule lies between is shown here: with that rule written out, R's numbers come out to 1e-9.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.panel import Panel
from evalkit.estimators.area.contrasts import Counterfactual
from evalkit.estimators.area.predictors import compute_importance, match_predictors, scale_predictors
from evalkit.estimators.area.synthetic_control import (
    SyntheticControlOptions,
    average_predictors,
    compute_paths,
    compute_placebo_paths,
    compute_rmspe_ranks,
    difference_in_differences,
    synthetic_control,
    synthetic_did,
)
from evalkit.estimators.area.synthetic_weights import build_ridge_augmented, compute_noise_level, read_outcomes
from tests.shared_data import reference, shared

PROP99, BASQUE = reference("sc_prop99"), reference("sc_basque")
DESIGNS = {"did": difference_in_differences, "sc": synthetic_control, "sdid": synthetic_did}
BASQUES = "Basque Country (Pais Vasco)"
# V of the nested problem has no one answer: many V give the same weights. The weights and losses are held instead.
NOT_UNIQUE = {k for k in [*PROP99, *BASQUE] if ".V." in k}
# R's Synth stops at twice the least loss (0.00886 against 0.00429), so its weights are no optimum to be met; they are
# held with R's V given, where they follow from it.
BASQUE_GIVEN_V = tuple(BASQUE[k] for k in BASQUE if k.startswith("synth.V."))


# ---- Proposition 99 --------------------------------------------------------------------------------


@cache
def smoking() -> tuple[pd.DataFrame, Panel]:
    frame = pd.read_csv(shared("sc_prop99") / "data.csv")
    frame["adoption"] = np.where(frame["state"] == "California", 1989.0, np.nan)
    return frame, Panel.from_frame(frame, unit="state", period="year", outcome="cigsale", adoption="adoption")


@cache
def smoking_predictors() -> pd.DataFrame:
    windows = {name: (name, 1980, 1989) for name in ("lnincome", "age15to24", "retprice")}
    windows["special.beer.1984.1988"] = ("beer", 1984, 1989)
    windows |= {f"special.cigsale.{year}": ("cigsale", year, year + 1) for year in (1988, 1980, 1975)}
    return average_predictors(smoking()[0], unit="state", period="year", windows=windows)


def smoking_v() -> tuple[float, ...]:
    return tuple(PROP99[f"adh.synth.V.{name}"] for name in smoking_predictors().columns)


@cache
def smoking_paths(kind: str) -> Counterfactual:
    if kind in DESIGNS:
        panel = smoking()[1]
        return DESIGNS[kind](panel.values, treated=panel.treated[None], donors=~panel.treated[None], first=19)
    importance = smoking_v() if kind == "given" else "optimised"
    options = SyntheticControlOptions(predictors=smoking_predictors(), importance=importance)
    return compute_paths(smoking()[1], options=options)


@cache
def smoking_placebos(kind: str) -> np.ndarray:
    panel = smoking()[1]
    placed = np.eye(39, dtype=bool)[~panel.treated]
    return DESIGNS[kind](panel.values, treated=placed, donors=~placed & ~panel.treated, first=19).effect


def named_weights(prefix: str, paths: Counterfactual, panel: Panel) -> dict[str, float]:
    out = {f"{prefix}.{unit}": w for unit, w in zip(panel.units, paths.unit_weights[0], strict=True)}
    times = {f"{prefix.replace('unit', 'time')}.{y:.0f}": w
             for y, w in zip(panel.periods[: paths.first], paths.time_weights[0], strict=True)}  # fmt: skip
    return out | times if "unit" in prefix else out


def published_numbers() -> dict[str, float]:
    panel, predictors = smoking()[1], smoking_predictors()
    weights = pd.Series({"Colorado": 0.164, "Connecticut": 0.069, "Montana": 0.199, "Nevada": 0.234, "Utah": 0.334})
    own = panel.units == "California"
    gap = panel.values[own][0] - weights.to_numpy() @ panel.values[np.isin(panel.units, weights.index)]
    paths = Counterfactual(panel.values[own], panel.values[own] - gap, 19)
    before, after = paths.pre_rmspe[0] ** 2, paths.post_rmspe[0] ** 2
    prefix = "adh.published_weights"
    return {
        f"{prefix}.mean_gap_1989_2000": paths.effect[0],
        f"{prefix}.gap_2000": gap[-1],
        f"{prefix}.pre_mspe": before,
        f"{prefix}.post_pre_mspe_ratio": after / before,
        **{f"{prefix}.predictor.{k}.synthetic": weights @ predictors.loc[weights.index, k] for k in predictors},
    }


@cache
def smoking_numbers() -> dict[str, float]:
    """Every number of the reference that this package has, by its name there."""
    panel, predictors = smoking()[1], smoking_predictors()
    treated, rest = predictors.loc["California"], predictors.drop("California")
    outcomes = read_outcomes(panel.values, treated=panel.treated[None], donors=~panel.treated[None], first=19)
    noise = compute_noise_level(outcomes, 19)[0]
    given, best, plain = smoking_paths("given"), smoking_paths("optimised"), smoking_paths("sc")
    apart = scale_predictors(predictors.to_numpy(), outcomes)
    v = compute_importance(predictors.to_numpy(), outcomes, first=19, importance=smoking_v())
    distance = (v[0] * (given.unit_weights[0] @ apart[0]) ** 2).sum() * sum(smoking_v())
    out = {"N0": float((~panel.treated).sum()), "T0": 19.0}
    for kind in DESIGNS:
        out[f"{kind}.tau"] = smoking_paths(kind).effect[0]
        out |= named_weights(f"{kind}.unit_weight", smoking_paths(kind), panel)
        for name in ("placebo_sd_all38_n", "placebo_se_200draws_seed12345"):
            out[f"{kind}.{name}"] = smoking_placebos(kind).std()
        out[f"{kind}.placebo_sd_all38_n_minus_1"] = smoking_placebos(kind).std(ddof=1)
    exact = {k.replace("sdid", "sdid_exact"): x for k, x in out.items() if k.startswith("sdid.")}
    noises = {"sdid.noise_level": noise, "sdid.zeta_omega": 12**0.25 * noise, "sdid.zeta_lambda": 1e-6 * noise}
    means = {f"adh.predictor.{k}.treated": treated[k] for k in predictors}
    means |= {f"adh.predictor.{k}.mean38": rest[k].mean() for k in predictors}
    return (
        out | exact | noises | means | published_numbers()
        | named_weights("adh.synth.weight", best, panel) | {"adh.synth.loss_v": best.pre_rmspe[0] ** 2}
        | named_weights("adh.fixedV_qp.weight", given, panel)
        | {"adh.fixedV_qp.objective": distance, "adh.synth.loss_w": distance,
           "adh.fixedV_qp.mean_gap_1989_2000": given.effect[0],
           "adh.fixedV_qp.pre_mspe": given.pre_rmspe[0] ** 2, "adh.fixedV_qp.gap_2000": given.gap[0, -1]}
        | named_weights("outcome_only_sc.weight", plain, panel)
        | {"outcome_only_sc.mean_gap_1989_2000": plain.effect[0], "outcome_only_sc.pre_rmspe": plain.pre_rmspe[0]}
    )  # fmt: skip


def smoking_tolerance(name: str) -> dict[str, float]:
    """Relative 1e-6 unless R stops early, draws at random, or solves a problem that is not convex."""
    if name.endswith("seed12345"):
        # 200 draws of R against all 38: three Monte-Carlo errors of a standard deviation, heavy tails allowed for.
        return {"rel": 0.15}
    if name.startswith("sc."):
        return {"abs": 0.15 if "tau" in name or "placebo" in name else 0.02}
    if name.startswith("sdid.") and not name.startswith(("sdid.zeta", "sdid.noise")):
        return {"abs": 0.02}
    if name.startswith("adh.synth.weight"):
        return {"abs": 0.02}
    if name.startswith("adh.synth.loss_v"):
        return {"rel": 0.05}  # ours is lower: `test_optimised_importance_beats_published_losses`
    if name.startswith("adh.synth.loss_w"):
        return {"rel": 0.01}  # R's inner solver stops 0.3% above the optimum, which is `fixedV_qp.objective`
    if ".weight." in name or "unit_weight" in name or "time_weight" in name:
        return {"abs": 1e-6}  # weights solved by quadprog with a ridge of 1e-9 or 1e-8
    return {"rel": 1e-6}


@pytest.mark.parametrize("name", sorted(PROP99.keys() - NOT_UNIQUE))
def test_proposition_99(name: str) -> None:
    assert smoking_numbers()[name] == pytest.approx(PROP99[name], **smoking_tolerance(name))


@pytest.mark.parametrize(("kind", "tolerance"), [("did", 1e-9), ("sc", 0.8), ("sdid", 0.06)])
def test_all_placebos_of_proposition_99(kind: str, tolerance: float) -> None:
    # R's early stop moves a placebo by up to 0.77 (SC) and 0.055 (SDID); see `test_r_stops_short_of_the_optimum`.
    theirs = pd.read_csv(shared("sc_prop99") / "placebo_all38.csv")
    assert theirs["state"].tolist() == [u for u in smoking()[1].units if u != "California"]
    np.testing.assert_allclose(smoking_placebos(kind), theirs[kind], rtol=0, atol=tolerance)


def frank_wolfe(a: np.ndarray, b: np.ndarray, zeta: float, start: np.ndarray, least: float, steps: int) -> np.ndarray:
    """R's synthdid `sc.weight.fw`: line search to the best corner, until the gain falls under least^2."""
    x, ridge, last = start, len(b) * zeta**2, np.inf
    for step in range(steps):
        half = (a @ x - b) @ a + ridge * x
        way = -x.copy()
        way[half.argmin()] += 1
        bend = ((a @ way) ** 2).sum() + ridge * (way**2).sum()
        x = x + min(1.0, max(0.0, -half @ way / bend)) * way if way.any() else x
        now = zeta**2 * (x**2).sum() + ((a @ x - b) ** 2).mean()
        if step and last - now <= least**2:
            break
        last = now
    return x


def stopped_weights(a: np.ndarray, b: np.ndarray, zeta: float, noise: float) -> np.ndarray:
    rough = frank_wolfe(a, b, zeta, np.full(a.shape[1], 1 / a.shape[1]), 1e-5 * noise, 100)
    rough = np.where(rough <= rough.max() / 4, 0.0, rough)
    return frank_wolfe(a, b, zeta, rough / rough.sum(), 1e-5 * noise, 10_000)


def stopped_effect(donors: np.ndarray, target: np.ndarray, kind: str) -> tuple[float, np.ndarray]:
    """R's `sc_estimate` and `synthdid_estimate` with 19 periods before, and the unit weights."""
    noise = np.diff(donors[:, :19], axis=1).std(ddof=1)
    a, b, times, zeta = donors[:, :19].T, target[:19], np.zeros(19), 1e-6 * noise
    if kind == "sdid":
        rows, after = donors[:, :19] - donors[:, :19].mean(axis=0), donors[:, 19:].mean(axis=1)
        times = stopped_weights(rows, after - after.mean(), 1e-6 * noise, noise)
        a, b, zeta = a - a.mean(axis=0), b - b.mean(), 12**0.25 * noise
    units = stopped_weights(a, b, zeta, noise)
    gap = target - units @ donors
    return gap[19:].mean() - gap[:19] @ times, units


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sc", "sdid"])
def test_r_stops_short_of_the_optimum(kind: str) -> None:
    """With R's stopping rule R's 39 effects come out to 1e-9; without it every SC loss here is lower or equal."""
    panel = smoking()[1]
    donors, own = panel.values[~panel.treated], panel.values[panel.treated][0]
    theirs = pd.read_csv(shared("sc_prop99") / "placebo_all38.csv")[kind]
    assert stopped_effect(donors, own, kind)[0] == pytest.approx(PROP99[f"{kind}.tau"], rel=1e-9)
    stopped = [stopped_effect(np.delete(donors, i, axis=0), donors[i], kind) for i in range(38)]
    np.testing.assert_allclose([effect for effect, _ in stopped], theirs, rtol=0, atol=1e-9)
    if kind == "sc":
        placed = np.eye(39, dtype=bool)[~panel.treated]
        paths = synthetic_control(panel.values, treated=placed, donors=~placed & ~panel.treated, first=19)
        loss = [((donors[i, :19] - w @ np.delete(donors, i, axis=0)[:, :19]) ** 2).mean()
                for i, (_, w) in enumerate(stopped)]  # fmt: skip
        assert (paths.pre_rmspe**2 <= np.array(loss) * (1 + 1e-12)).all()


@pytest.mark.slow
def test_california_ranks_first_of_39() -> None:
    """Abadie, Diamond and Hainmueller 2010, section 3.4: the largest ratio of all, p = 1/39 = 0.026."""
    ranks = compute_rmspe_ranks(smoking()[1], options=SyntheticControlOptions(predictors=smoking_predictors()))
    assert ranks.loc[0, "unit"] == "treated"
    assert ranks.loc[0, "p_value"] == pytest.approx(1 / 39)


def test_optimised_importance_comes_to_the_published_weights() -> None:
    """Their table 2 to 0.005, nearer than R's Synth (0.017): both searches are local, ours ends lower."""
    weights = dict(zip(smoking()[1].units, smoking_paths("optimised").unit_weights[0], strict=True))
    table = {"Colorado": 0.164, "Connecticut": 0.069, "Montana": 0.199, "Nevada": 0.234, "Utah": 0.334}
    assert {k: weights[k] for k in table} == pytest.approx(table, abs=0.005)
    assert sum(weights[k] for k in table) == pytest.approx(1, abs=1e-3)


def test_optimised_importance_beats_published_losses() -> None:
    assert smoking_paths("optimised").pre_rmspe[0] ** 2 <= PROP99["adh.published_weights.pre_mspe"]
    assert basque_paths("optimised").pre_rmspe[0] ** 2 <= BASQUE["synth.loss_v"]


# pysyncon 1.7.0, AugSynth without covariates, on the same 39 x 31 panel; its simplex weights come from SLSQP with
# ftol 1e-12, whence 1e-5. With the penalty left to cross-validation it takes 429.8376, the tenth of its grid.
@pytest.mark.parametrize(
    ("ridge", "effect", "utah", "mississippi"),
    [
        (100.0, -14.34337488563437, 0.35212135, -0.07361655),
        (1000.0, -16.75585587665546, 0.38047033, -0.0277387),
        (None, -15.952594536150885, 0.37019583, -0.04346792),
    ],
)
def test_ridge_augmented_against_pysyncon(ridge: float | None, effect: float, utah: float, mississippi: float) -> None:
    panel = smoking()[1]
    paths = build_ridge_augmented(ridge)(
        panel.values, treated=panel.treated[None], donors=~panel.treated[None], first=19
    )
    weights = dict(zip(panel.units, paths.unit_weights[0], strict=True))
    assert paths.effect[0] == pytest.approx(effect, rel=1e-5)
    assert weights["Utah"] == pytest.approx(utah, abs=1e-5)
    assert weights["Mississippi"] == pytest.approx(mississippi, abs=1e-5)


# ---- Basque Country --------------------------------------------------------------------------------


@cache
def basque() -> tuple[pd.DataFrame, Panel]:
    frame = pd.read_csv(shared("sc_basque") / "data.csv")
    frame = frame[frame["regionno"] != 1].copy()  # Spain as a whole
    frame["adoption"] = np.where(frame["regionno"] == 17, 1970.0, np.nan)
    return frame, Panel.from_frame(frame, unit="regionname", period="year", outcome="gdpcap", adoption="adoption")


@cache
def basque_predictors() -> pd.DataFrame:
    """As in Abadie, Diamond and Hainmueller 2011 (JSS 42:13): the two highest schools merged, schooling in percent."""
    schools = ["school.illit", "school.prim", "school.med", "school.high"]
    windows = {k: (k, 1964, 1970) for k in [*schools, "school.post.high", "invest"]}
    windows["special.gdpcap.1960.1969"] = ("gdpcap", 1960, 1970)
    for sector in ("agriculture", "energy", "industry", "construction", "services.venta", "services.nonventa"):
        windows[f"special.sec.{sector}.1961.1969"] = (f"sec.{sector}", 1961, 1970)
    windows["special.popdens.1969"] = ("popdens", 1969, 1970)
    table = average_predictors(basque()[0], unit="regionname", period="year", windows=windows)
    table["school.high"] += table.pop("school.post.high")
    table[schools] = 100 * table[schools].div(table[schools].sum(axis=1), axis=0)
    return table


@cache
def basque_paths(kind: str) -> Counterfactual:
    if kind == "plain":
        return compute_paths(basque()[1])
    importance = BASQUE_GIVEN_V if kind == "given" else "optimised"
    options = SyntheticControlOptions(predictors=basque_predictors(), importance=importance)
    return compute_paths(basque()[1].between(1960, 1998), options=options)


@cache
def basque_numbers() -> dict[str, float]:
    panel, predictors = basque()[1], basque_predictors()
    given, plain = basque_paths("given"), basque_paths("plain")
    weights = pd.Series(given.unit_weights[0], index=panel.units)
    recent = panel.between(1960, 1998)
    arguments = {"treated": panel.treated[None], "donors": ~panel.treated[None], "first": 10}
    apart = scale_predictors(predictors.loc[panel.units].to_numpy(), read_outcomes(recent.values, **arguments))
    distance = (np.array(BASQUE_GIVEN_V) * (weights.to_numpy() @ apart[0]) ** 2).sum()
    table = pd.Series({"Cataluna": 0.8508, "Madrid (Comunidad De)": 0.1492})
    gap = recent.values[panel.treated][0] - table.to_numpy() @ recent.values[np.isin(panel.units, table.index)]
    return {
        **named_weights("synth.weight", given, panel),
        "synth.loss_v": given.pre_rmspe[0] ** 2,
        "synth.loss_w": distance,
        "synth.mean_gap_1975_1997": given.gap[0, 15:].mean(),
        "synth.mean_gap_1970_1997": given.effect[0],
        "synth.gap_1997": given.gap[0, -1],
        "published_weights.mean_gap_1975_1997": gap[15:].mean(),
        "published_weights.mse_1960_1969": (gap[:10] ** 2).mean(),
        **named_weights("outcome_only_sc_1955_1969.weight", plain, panel),
        "outcome_only_sc_1955_1969.mean_gap_1975_1997": plain.gap[0, 20:].mean(),
        "outcome_only_sc_1955_1969.pre_rmspe": plain.pre_rmspe[0],
        **{f"predictor.{k}.treated": predictors.loc[BASQUES, k] for k in predictors},
        **{f"predictor.{k}.sample_mean": predictors.drop(BASQUES)[k].mean() for k in predictors},
        **{f"predictor.{k}.synthetic": weights @ predictors.loc[weights.index, k] for k in predictors},
    }


def basque_tolerance(name: str) -> dict[str, float]:
    """Relative 1e-6, except where R's inner solver (interior point) stops a few 1e-6 from the weights V implies."""
    if name.startswith("synth.weight"):
        return {"abs": 1e-5}
    if name.startswith("synth.") or name.endswith(".synthetic"):
        return {"rel": 2e-5}
    return {"abs": 1e-6} if ".weight." in name else {"rel": 1e-6}


@pytest.mark.parametrize("name", sorted(BASQUE.keys() - NOT_UNIQUE))
def test_basque_country(name: str) -> None:
    assert basque_numbers()[name] == pytest.approx(BASQUE[name], **basque_tolerance(name))


def test_given_importance_leaves_no_better_weights() -> None:
    """The inner optimum: no corner of the simplex lowers the weighted distance to first order."""
    predictors, panel = basque_predictors(), basque()[1]
    arguments = {"treated": panel.treated[None], "donors": ~panel.treated[None], "first": 10}
    apart = scale_predictors(predictors.loc[panel.units].to_numpy(), read_outcomes(panel.values, **arguments))
    v = np.array(BASQUE_GIVEN_V)[None]
    weights = match_predictors(apart, v, ~panel.treated[None])[0]
    slope = apart[0] @ (v[0] * (weights @ apart[0]))
    assert slope[~panel.treated].min() >= weights @ slope - 1e-10


def test_placebos_with_predictors_leave_the_treated_out() -> None:
    options = SyntheticControlOptions(predictors=basque_predictors(), importance=BASQUE_GIVEN_V)
    paths = compute_placebo_paths(basque()[1], options=options)
    assert paths.unit_weights.shape == (16, 17)
    assert (paths.unit_weights[:, basque()[1].treated] == 0).all()
