"""Predicted means and effects against statsmodels and small changes of the coefficients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.costs import glm_families as families
from evalkit.estimators.costs.glm import GlmOptions, fit_glm
from evalkit.estimators.costs.glm_margins import compute_margins, compute_mean_differences, compute_predicted_means
from tests.unit.test_glm import NAMES, PAIRS, costs


@pytest.mark.parametrize("kind", ["logit", "probit", "poisson"])
def test_marginal_effects_equal_statsmodels(kind: str) -> None:
    family, link = ("poisson", "log") if kind == "poisson" else ("binomial", kind)
    x, y = costs(family, link)
    y = np.round(y / 20) if kind == "poisson" else y
    discrete = {"logit": sm.Logit, "probit": sm.Probit, "poisson": sm.Poisson}[kind]
    theirs = discrete(y, x).fit(disp=0, method="newton", tol=1e-14, maxiter=100)
    ours = fit_glm(x, y, options=GlmOptions(family, link, "model"), names=NAMES)
    scale = ours.dispersion if kind == "poisson" else 1.0
    slopes = theirs.get_margeff(at="overall", method="dydx")
    found = compute_margins(ours, x, columns=NAMES[1:], kind="derivative")
    # statsmodels takes the observed information for probit, R and we the expected one.
    loose = 2e-2 if kind == "probit" else 1e-6
    assert found.value == pytest.approx(slopes.margeff, rel=1e-7)
    assert found.standard_errors / math.sqrt(scale) == pytest.approx(slopes.margeff_se, rel=loose)
    jump = theirs.get_margeff(at="overall", method="dydx", dummy=True)
    found = compute_margins(ours, x, columns=["treated"], kind="difference")
    assert found.value == pytest.approx(jump.margeff[:1], rel=1e-7)
    assert found.standard_errors / math.sqrt(scale) == pytest.approx(jump.margeff_se[:1], rel=loose)


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_delta_method_errors_are_those_of_small_changes(family: str, link: str) -> None:
    x, y = costs(family, link)
    model = fit_glm(x, y, options=GlmOptions(family, link), names=NAMES)
    weights, b = np.linspace(0.5, 2, 200), model.coefficients
    w = weights / weights.sum()
    one, nought = x.copy(), x.copy()
    one[:, 1], nought[:, 1] = 1.0, 0.0

    def effects(b: np.ndarray) -> np.ndarray:
        jump = families.invert_link(one @ b, link) - families.invert_link(nought @ b, link)
        return np.array([w @ jump, w @ families.compute_slope(x @ b, link) * b[2]])

    steps = np.eye(4) * 1e-5 * np.abs(b).max()
    gradient = np.column_stack([(effects(b + s) - effects(b - s)) / (2 * s.sum()) for s in steps])
    jump = compute_margins(model, x, columns=["treated"], kind="difference", weights=weights)
    slope = compute_margins(model, x, columns=["need"], kind="derivative", weights=weights)
    assert [jump.value[0], slope.value[0]] == pytest.approx(effects(b), rel=1e-12)
    errors = np.sqrt(np.diag(gradient @ model.covariance @ gradient.T))
    assert [jump.standard_errors[0], slope.standard_errors[0]] == pytest.approx(errors, rel=1e-5)


def test_predicted_means_share_their_errors_with_their_difference() -> None:
    x, y = costs()
    model = fit_glm(x, y, names=NAMES)
    one, nought = x.copy(), x.copy()
    one[:, 1], nought[:, 1] = 1.0, 0.0
    means = compute_predicted_means(model, [one, nought], names=("with", "without"))
    effect = compute_mean_differences(model, [(one, nought)], names=["effect"])
    contrast = np.array([1.0, -1.0])
    assert effect.value[0] == pytest.approx(contrast @ means.value)
    assert effect.covariance[0, 0] == pytest.approx(contrast @ means.covariance @ contrast)
    assert effect.value == pytest.approx(compute_margins(model, x, columns=["treated"], kind="difference").value)


def test_averaging_over_a_sample_adds_its_variance_by_cluster() -> None:
    x, y = costs()
    model = fit_glm(x, y, names=NAMES)
    fixed = compute_predicted_means(model, [x], names=["mean"])
    sampled = compute_predicted_means(model, [x], names=["mean"], population="sampled")
    added = ((model.mu - model.mu.mean()) ** 2).sum() / 200**2
    assert sampled.covariance[0, 0] - fixed.covariance[0, 0] == pytest.approx(added)
    order = np.argsort(model.mu)
    cluster = np.empty(200)
    cluster[order] = np.arange(200) // 10  # those of like cost together
    grouped = compute_predicted_means(model, [x], names=["mean"], population="sampled", cluster=cluster)
    assert grouped.covariance[0, 0] > sampled.covariance[0, 0]


def test_margins_refuse_what_they_cannot_tell() -> None:
    x, y = costs("gamma", "identity")
    model = fit_glm(x, y, options=GlmOptions("gamma", "identity"), names=NAMES)
    with pytest.raises(ParameterError, match='Did you mean "treated"'):
        compute_margins(model, x, columns=["treatd"], kind="difference")
    with pytest.raises(ParameterError, match="age: a difference from 0 to 1 needs a column of 0 and 1"):
        compute_margins(model, x, columns=["age"], kind="difference")
    with pytest.raises(ParameterError, match="kind: unknown"):
        compute_margins(model, x, columns=["age"], kind="slope")
    with pytest.raises(ParameterError, match="population: unknown"):
        compute_margins(model, x, columns=["age"], kind="derivative", population="all")
    with pytest.raises(ParameterError, match="shapes"):
        compute_margins(model, x[:, 1:], columns=["age"], kind="derivative")
    with pytest.raises(NotEstimable, match="fewer than 10 rows have a predicted mean that the family cannot have"):
        compute_predicted_means(model, [np.array([[1.0, 0.0, -1.0, 100.0]])], names=["far"])
