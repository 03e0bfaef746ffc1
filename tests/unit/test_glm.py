"""Models of cost: families and links, what is refused, bootstrap draws.

Oracles are definitions (the score is nought, derivatives are limits of differences) and statsmodels; numbers of R are
in tests/reference.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.costs import glm_families as families
from evalkit.estimators.costs import glm_solve
from evalkit.estimators.costs.glm import GlmOptions, fit_glm, fit_glm_draws, predict_glm

PAIRS = [(family, link) for family, links in families.LINKS.items() for link in links]
NAMES = ("intercept", "treated", "need", "age")
WITH_ZEROS = (("gaussian", "log"), ("gamma", "log"), ("poisson", "log"), ("poisson", "sqrt"))
SHAPE = 0.9


def costs(
    family: str = "gamma", link: str = "log", *, n: int = 200, zeros: float = 0.0, seed: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """A design (n, 4) and costs whose mean has this link; skewed, and nought for a share `zeros` of people."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.integers(0, 2, n), rng.uniform(-1, 1, n), rng.uniform(-1, 1, n)])
    slopes = {"log": (5, 0.3, 0.2, -0.2), "identity": (500, 50, 60, -90), "sqrt": (20, 2, 3, -3)}
    eta = x @ np.array(slopes.get(link, (0.2, 0.5, 1, -0.5)))
    mean = families.invert_link(eta, link)
    if family == "binomial":
        return x, (rng.uniform(size=n) < mean).astype(float)
    return x, rng.gamma(SHAPE, mean / SHAPE) * (rng.uniform(size=n) >= zeros)


def draw(n: int, count: int, seed: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=count)


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_derivatives_are_limits_of_differences(family: str, link: str) -> None:
    eta, step = np.linspace(0.4, 2.5, 9), 1e-6
    up, down = eta + step, eta - step
    slope = (families.invert_link(up, link) - families.invert_link(down, link)) / (2 * step)
    bend = (families.compute_slope(up, link) - families.compute_slope(down, link)) / (2 * step)
    assert families.compute_slope(eta, link) == pytest.approx(slope, rel=1e-7, abs=1e-9)
    assert families.compute_bend(eta, link) == pytest.approx(bend, rel=1e-7, abs=1e-9)
    assert families.apply_link(families.invert_link(eta, link), link) == pytest.approx(eta, rel=1e-12)
    y = np.linspace(0.1, 0.9, 9) if family == "binomial" else np.linspace(0.0, 9.0, 9)
    working = families.compute_working(y, eta, family, link)
    above, below = (families.compute_objective(y, at, family, link) for at in (up, down))
    assert working.score == pytest.approx(-(above - below) / (2 * step), rel=1e-6, abs=1e-8)
    share = families.compute_slope(eta, link) ** 2 / families.compute_variance(working.mean, family)
    assert working.information == pytest.approx(share, rel=1e-12)
    score, curvature = families.compute_curvature(y, eta, family, link)
    assert score == pytest.approx(working.score, rel=1e-12)
    if link != "probit":  # whose curvature is the expected one
        ends = [families.compute_working(y, at, family, link).score for at in (up, down)]
        assert curvature == pytest.approx(-(ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_the_score_is_nought_at_the_estimate(family: str, link: str) -> None:
    x, y = costs(family, link)
    offset = np.linspace(0, 0.1, len(y))
    model = fit_glm(x, y, options=GlmOptions(family, link), offset=offset, names=NAMES)
    assert np.abs(model.scores.sum(axis=0)).max() < 1e-9 * np.abs(model.scores).sum(axis=0).max()
    assert model.mu == pytest.approx(predict_glm(x, model.coefficients, options=model.options, offset=offset))
    assert model.influence.T @ model.influence * 200 / 196 == pytest.approx(model.covariance)


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_draws_are_the_fits_of_each_draw(family: str, link: str) -> None:
    x, y = costs(family, link, zeros=0.15 if (family, link) in WITH_ZEROS else 0.0)
    counts, options = draw(len(y), 70), GlmOptions(family, link, "model")
    draws = fit_glm_draws(x, y, counts, options=options)
    assert draws.fitted.all()
    for b in (0, 35, 69):
        alone = fit_glm(x, y, weights=counts[b], options=options)
        assert draws.coefficients[b] == pytest.approx(alone.coefficients, rel=1e-8, abs=1e-8 * np.abs(y).max() ** 0.5)


def test_draws_equal_statsmodels() -> None:
    x, y = costs(n=300)
    counts = draw(300, 12)
    draws = fit_glm_draws(x, y, counts, options=GlmOptions("gamma", "log"))
    family = sm.families.Gamma(sm.families.links.Log())
    for b in range(12):
        theirs = sm.GLM(y, x, family=family, freq_weights=counts[b]).fit(tol=1e-14, maxiter=300)
        assert draws.coefficients[b] == pytest.approx(theirs.params, rel=1e-8)


def test_the_start_does_not_matter_to_draws() -> None:
    x, y = costs(zeros=0.3)
    counts, base = draw(200, 5), np.linspace(0.2, 3, 200)
    plain = fit_glm_draws(x, y, counts)
    assert fit_glm_draws(x, y, counts, base=base).coefficients == pytest.approx(plain.coefficients, rel=1e-9)
    assert fit_glm_draws(x, y, counts[3:4]).coefficients[0] == pytest.approx(plain.coefficients[3], rel=1e-12)


def test_draws_that_cannot_be_fitted_are_marked_and_spoil_no_other() -> None:
    x, y = costs(zeros=0.2)
    counts = draw(200, 6)
    counts[1] = np.where(x[:, 1] == 1, 0, counts[1])  # nobody treated
    counts[4] = np.where((x[:, 1] == 1) & (y > 0), 0, counts[4])  # no treated person has a cost
    for family in ("gamma", "poisson"):
        draws = fit_glm_draws(x, y, counts, options=GlmOptions(family, "log"))
        assert draws.fitted.tolist() == [True, False, True, True, False, True]
        assert np.isnan(draws.coefficients[[1, 4]]).all()
        assert np.isfinite(draws.coefficients[[0, 2, 3, 5]]).all()


def test_a_separated_draw_is_marked() -> None:
    x, y = costs("binomial", "logit")
    counts = draw(200, 3)
    counts[1] = np.where((x[:, 1] == 1) & (y == 0), 0, counts[1])
    draws = fit_glm_draws(x, y, counts, options=GlmOptions("binomial", "logit"))
    assert draws.fitted.tolist() == [True, False, True]


def test_a_gamma_with_costs_of_nought_solves_its_estimating_equation_without_a_deviance() -> None:
    x, y = costs(zeros=0.4)
    model = fit_glm(x, y, options=GlmOptions("gamma", "log", "model"), names=NAMES)
    assert np.abs(((y - model.mu) / model.mu) @ x).max() < 1e-8
    assert math.isnan(model.deviance)
    assert "nought" in model.deviance_reason
    assert math.isnan(model.log_likelihood)
    assert model.log_likelihood_reason
    assert model.dispersion == pytest.approx((((y - model.mu) / model.mu) ** 2).sum() / 196)
    group = fit_glm(x[:, :2], y)
    means = [y[x[:, 1] == side].mean() for side in (0, 1)]
    assert np.exp([group.coefficients[0], group.coefficients.sum()]) == pytest.approx(means, rel=1e-10)


def test_poisson_has_no_likelihood_and_binomial_has_dispersion_one() -> None:
    x, y = costs("poisson", zeros=0.3)
    poisson = fit_glm(x, y, options=GlmOptions("poisson", "log"))
    assert math.isnan(poisson.log_likelihood)
    assert "quasi" in poisson.log_likelihood_reason
    assert poisson.deviance > 0
    x, y = costs("binomial", "logit")
    assert fit_glm(x, y, options=GlmOptions("binomial", "logit")).dispersion == 1.0
    shares = fit_glm(x, 0.2 + 0.5 * y, options=GlmOptions("binomial", "logit"))
    assert "shares" in shares.log_likelihood_reason


def test_a_wild_start_still_arrives() -> None:
    """One cost ten thousand times the others: full steps of the sqrt and identity links would leave the family."""
    x, y = costs(n=60)
    y[7] = 1e4 * y.max()
    for family, link in (("gamma", "log"), ("poisson", "log"), ("poisson", "sqrt"), ("gaussian", "log")):
        model = fit_glm(x, y, options=GlmOptions(family, link))
        assert np.abs(model.scores.sum(axis=0)).max() < 1e-7 * np.abs(model.scores).sum(axis=0).max()


def test_options_are_refused_by_name_all_at_once() -> None:
    x, y = costs()
    with pytest.raises(ParameterError) as refused:
        fit_glm(x, y, options=GlmOptions("gama", "logg", "hc1", max_iterations=0, tolerance=1.0))
    assert [fault.where for fault in refused.value.faults] == [
        "family",
        "link",
        "errors",
        "max_iterations",
        "tolerance",
    ]
    assert 'Did you mean "gamma"?' in str(refused.value)
    for family, link in (("gamma", "logit"), ("binomial", "log"), ("gaussian", "probit")):
        with pytest.raises(ParameterError, match="does not go with the family"):
            fit_glm(x, y, options=GlmOptions(family, link))


def spoil(what: str) -> dict[str, object]:
    x, y = costs()
    given: dict[str, object] = {"x": x, "y": y, "names": NAMES, "options": GlmOptions("gamma", "log", "model")}
    if what == "negative":
        y[3] = -1.0
    elif what == "missing cost":
        y[3] = np.nan
    elif what == "missing covariate":
        x[3, 2] = np.nan
    elif what == "shapes":
        given["y"] = y[1:]
    elif what == "weights":
        given["weights"] = np.full(200, -1.0)
    elif what == "unused clusters":
        given["cluster"] = np.arange(200)
    elif what == "no clusters":
        given["options"] = GlmOptions(errors="cluster")
    elif what == "outside":
        given["options"] = GlmOptions("binomial", "logit")
    elif what.startswith("nought"):
        y[3] = 0.0
        given["options"] = GlmOptions("gamma", "sqrt") if "gamma" in what else GlmOptions("inverse_gaussian", "log")
    elif what == "empty clusters":
        given |= {"cluster": [None, *range(199)], "options": GlmOptions(errors="cluster")}
    elif what == "words":
        given["y"] = np.array(["dear"] * 200)
    return given


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("negative", "outcome: some costs are negative"),
        ("missing cost", "outcome: fewer than 10 rows are missing"),
        ("missing covariate", "need: fewer than 10 rows are missing"),
        ("shapes", "the shapes do not fit"),
        ("weights", "weights are negative"),
        ("unused clusters", "clusters are given but not used"),
        ("no clusters", "clusters are needed"),
        ("outside", "values outside 0 to 1"),
        ("nought, gamma", "some costs are nought, where the family gamma with the link sqrt has no maximum"),
        (
            "nought, inverse",
            "some costs are nought, where the family inverse_gaussian with the link log has no maximum",
        ),
        ("empty clusters", "cluster: fewer than 10 rows are empty"),
        ("words", "a list of numbers is wanted"),
    ],
)
def test_bad_input_is_refused(what: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        fit_glm(**spoil(what))


def test_what_the_data_cannot_tell_is_refused_by_name() -> None:
    x, y = costs()
    twice = np.column_stack([x, 2 * x[:, 1] - 3])
    with pytest.raises(NotEstimable, match="copy: this column is constant, or a combination"):
        fit_glm(twice, y, names=(*NAMES, "copy"))
    with pytest.raises(NotEstimable, match="no more people than columns"):
        fit_glm(x[:4], y[:4], names=NAMES)
    with pytest.raises(NotEstimable, match="no more people than columns"):
        fit_glm(x, y, weights=(np.arange(200) < 4).astype(float), names=NAMES)
    with pytest.raises(NotEstimable, match="nobody has any cost"):
        fit_glm(x, np.zeros(200), names=NAMES)
    with pytest.raises(NotEstimable, match="one cluster only"):
        fit_glm(x, y, options=GlmOptions(errors="cluster"), cluster=np.zeros(200), names=NAMES)
    with pytest.raises(NotEstimable, match="no convergence in 2 steps"):
        fit_glm(x, y, options=GlmOptions(max_iterations=2), names=NAMES)
    with pytest.raises(NotEstimable, match="there is nobody"):
        fit_glm(x[:0], y[:0], names=NAMES)


@pytest.mark.parametrize("family", ["gamma", "poisson", "gaussian"])
def test_a_group_without_any_cost_is_refused_by_name(family: str) -> None:
    x, y = costs()
    y[x[:, 1] == 1] = 0.0
    with pytest.raises(NotEstimable, match="treated: a group has no cost at all"):
        fit_glm(x, y, options=GlmOptions(family, "log"), names=NAMES)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_separation_is_refused_by_name(link: str) -> None:
    x, y = costs("binomial", link)
    y[x[:, 1] == 1] = 1.0
    with pytest.raises(NotEstimable, match="treated: the outcome is separated"):
        fit_glm(x, y, options=GlmOptions("binomial", link), names=NAMES)


def test_a_design_that_gives_nobody_a_positive_mean_is_refused() -> None:
    x, y = costs()
    with pytest.raises(NotEstimable, match='by the link "identity"'):
        fit_glm(x[:, 2:3], y, options=GlmOptions("gamma", "identity"), names=("need",))


@pytest.mark.parametrize(("family", "link"), [("poisson", "sqrt"), ("poisson", "identity"), ("gaussian", "sqrt")])
def test_an_estimate_at_the_edge_of_the_family_is_refused(family: str, link: str) -> None:
    """Those whose cost falls to nought with need want a mean below it: the best allowed one is no root."""
    need = np.linspace(0, 1, 40)
    x, y = np.column_stack([np.ones(40), need]), np.where(need < 0.5, 900 * (0.5 - need), 0.0)
    y[0] += 100
    with pytest.raises(NotEstimable, match="no convergence"):
        fit_glm(x, y, options=GlmOptions(family, link), names=("intercept", "need"))


def test_what_a_family_cannot_have_is_no_matter_for_people_who_do_not_count() -> None:
    x, y = costs("gamma", "identity")
    options, plain = GlmOptions("gamma", "identity"), fit_glm(x, y, options=GlmOptions("gamma", "identity"))
    far = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 100.0]])  # means of nought and far below it
    weights = np.concatenate([np.ones(200), np.zeros(2)])
    more = fit_glm(np.vstack([x, far]), np.concatenate([y, [0.0, 5.0]]), weights=weights, options=options)
    assert more.covariance == pytest.approx(plain.covariance, rel=1e-7)
    assert np.isnan(more.mu[200:]).all()
    counts = np.hstack([draw(200, 4), np.zeros((4, 2), dtype=int)])
    draws = fit_glm_draws(np.vstack([x, far]), np.concatenate([y, [0.0, 5.0]]), counts, options=options, base=weights)
    assert draws.coefficients == pytest.approx(
        fit_glm_draws(x, y, draw(200, 4), options=options).coefficients, rel=1e-7
    )


def test_blocks_of_people_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = costs(zeros=0.2)
    counts = draw(200, 9)
    plain = fit_glm_draws(x, y, counts)
    monkeypatch.setattr(glm_solve, "_BLOCK", 370)
    assert fit_glm_draws(x, y, counts).coefficients == pytest.approx(plain.coefficients, rel=1e-9)


def test_nobodys_row_is_shown_with_a_model() -> None:
    x, y = costs()
    shown = repr(fit_glm(x, y, names=NAMES))
    assert "coefficients" in shown
    assert "mu=" not in shown
    assert "scores=" not in shown


def test_clusters_of_one_person_give_hc1() -> None:
    x, y = costs()
    plain = fit_glm(x, y, options=GlmOptions(errors="HC1"))
    single = fit_glm(x, y, options=GlmOptions(errors="cluster"), cluster=np.arange(200))
    assert single.covariance == pytest.approx(plain.covariance, rel=1e-12)


def test_costs_below_nought_on_average_have_no_logarithmic_mean() -> None:
    x, y = costs()
    with pytest.raises(NotEstimable, match="no convergence"):
        fit_glm(x, y - 10 * y.max(initial=0) * (np.arange(200) > 3), options=GlmOptions("gaussian", "log"), names=NAMES)
