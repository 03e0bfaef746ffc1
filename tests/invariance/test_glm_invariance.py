"""What must not matter to models of cost: the currency's unit, order, covariates' units, a person written twice."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.estimators.costs.glm import GlmOptions, fit_glm, fit_glm_draws
from evalkit.estimators.costs.glm_margins import compute_margins
from evalkit.estimators.costs.retransform import compute_retransformed_difference, fit_log_ols
from tests.unit.test_glm import NAMES, PAIRS, costs, draw

OF_MONEY = [pair for pair in PAIRS if pair[0] != "binomial"]


@pytest.mark.parametrize("pence", [100.0, 1e-6, 1e9])
@pytest.mark.parametrize(("family", "link"), OF_MONEY)
def test_the_unit_of_money_only_scales(family: str, link: str, pence: float) -> None:
    x, y = costs(family, link)
    options = GlmOptions(family, link)
    plain, other = (fit_glm(x, y * c, options=options, names=NAMES) for c in (1.0, pence))
    if link == "log":
        assert other.coefficients - plain.coefficients == pytest.approx([np.log(pence), 0, 0, 0], abs=1e-8)
        assert other.standard_errors == pytest.approx(plain.standard_errors, rel=1e-7)
    else:
        factor = pence if link == "identity" else np.sqrt(pence)
        assert other.coefficients == pytest.approx(plain.coefficients * factor, rel=1e-7)
        assert other.standard_errors == pytest.approx(plain.standard_errors * factor, rel=1e-7)
    effects = [compute_margins(model, x, columns=["treated"], kind="difference") for model in (plain, other)]
    assert effects[1].value == pytest.approx(effects[0].value * pence, rel=1e-6)
    assert effects[1].standard_errors == pytest.approx(effects[0].standard_errors * pence, rel=1e-6)


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_order_of_people_and_columns_does_not_matter(family: str, link: str) -> None:
    x, y = costs(family, link)
    options, cluster = GlmOptions(family, link, "cluster"), np.arange(200) // 7
    plain = fit_glm(x, y, options=options, cluster=cluster)
    people, columns = np.random.default_rng(1).permutation(200), np.array([2, 0, 3, 1])
    other = fit_glm(x[people][:, columns], y[people], options=options, cluster=-cluster[people])
    assert other.coefficients == pytest.approx(plain.coefficients[columns], rel=1e-7)
    assert other.covariance == pytest.approx(plain.covariance[np.ix_(columns, columns)], rel=1e-6)
    assert other.deviance == pytest.approx(plain.deviance, rel=1e-10)


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_units_of_covariates_do_not_matter_to_means(family: str, link: str) -> None:
    x, y = costs(family, link)
    mixed = np.column_stack([x[:, 0], x[:, 1], 1e6 + 1e4 * x[:, 2], 1e-5 * x[:, 3] - 2e-5])
    options = GlmOptions(family, link)
    plain, other = fit_glm(x, y, options=options, names=NAMES), fit_glm(mixed, y, options=options, names=NAMES)
    assert other.mu == pytest.approx(plain.mu, rel=1e-7)
    assert other.coefficients[1] == pytest.approx(plain.coefficients[1], rel=1e-6)
    assert other.standard_errors[1] == pytest.approx(plain.standard_errors[1], rel=1e-6)
    assert other.standard_errors[2] == pytest.approx(plain.standard_errors[2] / 1e4, rel=1e-6)


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_everybody_twice_with_half_the_weight_is_everybody_once(family: str, link: str) -> None:
    x, y = costs(family, link)
    person, options = np.arange(200), GlmOptions(family, link, "cluster")
    plain = fit_glm(x, y, options=options, cluster=person)
    twice = fit_glm(np.tile(x, (2, 1)), np.tile(y, 2), weights=np.full(400, 0.5), options=options,
                    cluster=np.tile(person, 2))  # fmt: skip
    assert twice.coefficients == pytest.approx(plain.coefficients, rel=1e-7)
    # The factors count rows, the sum over clusters does not.
    rows = (400 - 1) / (400 - 4) / ((200 - 1) / (200 - 4))
    assert twice.covariance == pytest.approx(plain.covariance * rows, rel=1e-6)


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_scale_of_weights_and_people_of_no_weight_do_not_matter(family: str, link: str) -> None:
    x, y = costs(family, link)
    w = np.linspace(0.2, 2, 200)
    options = GlmOptions(family, link, "HC1" if family == "binomial" else "model")
    plain, scaled = fit_glm(x, y, weights=w, options=options), fit_glm(x, y, weights=50 * w, options=options)
    assert scaled.coefficients == pytest.approx(plain.coefficients, rel=1e-8)
    assert scaled.covariance == pytest.approx(plain.covariance, rel=1e-7)
    more = fit_glm(np.vstack([x, 3 * x[:20]]), np.concatenate([y, y[:20]]), options=options,
                   weights=np.concatenate([w, np.zeros(20)]))  # fmt: skip
    assert more.coefficients == pytest.approx(plain.coefficients, rel=1e-7)
    assert more.covariance == pytest.approx(plain.covariance, rel=1e-6)
    assert more.n_people == 200


def test_an_offset_is_a_price_level() -> None:
    """With a log link a cost of twice the prices with the offset log 2 has the coefficients of the cost itself."""
    x, y = costs(zeros=0.2)
    price = np.where(np.arange(200) % 2, 2.0, 0.5)
    for family in ("gamma", "poisson"):
        options = GlmOptions(family, "log", "model")
        plain = fit_glm(x, y, options=options)
        other = fit_glm(
            x, y * price, options=options, offset=np.log(price), weights=1 / price if family == "poisson" else None
        )
        assert other.coefficients == pytest.approx(plain.coefficients, rel=1e-8)
        assert other.covariance == pytest.approx(plain.covariance, rel=1e-7)


def test_draws_do_not_depend_on_their_order_or_on_how_many_there_are() -> None:
    x, y = costs(zeros=0.2)
    counts = draw(200, 150)
    plain = fit_glm_draws(x, y, counts)
    order = np.random.default_rng(2).permutation(150)
    assert fit_glm_draws(x, y, counts[order]).coefficients == pytest.approx(plain.coefficients[order], rel=1e-9)
    assert fit_glm_draws(x, 100 * y, 3 * counts).coefficients[:, 1:] == pytest.approx(
        plain.coefficients[:, 1:], rel=1e-8
    )


def test_the_unit_of_money_only_scales_what_comes_back_from_logarithms() -> None:
    x, y = costs()
    one, nought = x.copy(), x.copy()
    one[:, 1], nought[:, 1] = 1.0, 0.0
    for method in ("naive", "normal", "duan"):
        pounds, pence = (
            compute_retransformed_difference(fit_log_ols(x, c * y), one, nought, method=method) for c in (1.0, 100.0)
        )
        assert pence.value == pytest.approx(100 * pounds.value, rel=1e-10)
        assert pence.se == pytest.approx(100 * pounds.se, rel=1e-10)
        assert pence.factors == pytest.approx(pounds.factors, rel=1e-10)
