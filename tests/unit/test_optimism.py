"""Bootstrap optimism: a plain loop over the same draws, cases worked by hand, refusals, intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.risk.measures import MEASURES, compute_measures
from evalkit.risk.optimism import (
    HELD_BY_FITTING,
    HELD_REASON,
    draw_inner_counts,
    estimate_optimism,
    estimate_two_stage,
)
from evalkit.risk.refit import Predict, refit_models, refit_ridge
from evalkit.risk.resample import draw_person_counts
from tests.refit_cases import as_models, fit_pipeline, make_discharges

DATA = make_discharges()
COUNTS = draw_person_counts(DATA.person, replicates=25, rng=np.random.default_rng(7))
SIMPLE = ("auroc", "auprc", "brier", "log_loss", "observed_expected")


def fit(rows: np.ndarray) -> Predict:
    model = fit_pipeline(DATA.x[rows], DATA.y[rows], penalty=1.0)
    return lambda at: model.predict_proba(DATA.x[at])[:, 1]


def test_optimism_is_that_of_a_plain_loop_over_the_same_draws() -> None:
    found = estimate_optimism(refit_ridge(DATA.x, DATA.y, penalty=1.0, counts=COUNTS), DATA.y, names=SIMPLE)

    def measure(y: np.ndarray, risk: np.ndarray) -> np.ndarray:
        scores = (roc_auc_score, average_precision_score, brier_score_loss, log_loss)
        return np.array([*(score(y, risk) for score in scores), y.sum() / risk.sum()])

    everyone, optimism = np.arange(len(DATA.y)), np.zeros(len(SIMPLE))
    for count in COUNTS:
        rows = np.repeat(everyone, count)
        model = fit(rows)
        optimism += (measure(DATA.y[rows], model(rows)) - measure(DATA.y, model(everyone))) / len(COUNTS)
    np.testing.assert_allclose(found.apparent, measure(DATA.y, fit(everyone)(everyone)), rtol=1e-8)
    np.testing.assert_allclose(found.optimism, optimism, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.corrected, found.apparent - found.optimism)
    assert found.optimism[0] > 0 > found.optimism[2]
    assert all(check.passed for check in found.checks)


def test_any_pipeline_goes_the_same_way_as_the_batched_fit() -> None:
    quick = estimate_optimism(refit_ridge(DATA.x, DATA.y, penalty=1.0, counts=COUNTS), DATA.y)
    plain = estimate_optimism(refit_models(fit, counts=COUNTS), DATA.y)
    for part in ("apparent", "optimism", "lower", "upper"):
        np.testing.assert_allclose(getattr(quick, part), getattr(plain, part), rtol=1e-6, atol=1e-8)
    assert quick.names == MEASURES and quick.reasons == plain.reasons


def test_worked_by_hand() -> None:
    """Everybody gets one risk, the share with the outcome in the draw; Brier is then p (1 - p) + (p - q)^2."""
    y = np.repeat([1, 0], [10, 30])
    counts = np.ones((20, 40))
    counts[:10, :10], counts[10:, 10:] = 3, 2  # shares 30/60 and 10/70
    p = np.repeat([30 / 60, 10 / 70], 10)
    models = as_models(np.full(40, 0.25), np.tile(p[:, None], (1, 40)), counts)
    found = estimate_optimism(models, y, names=("brier", "auroc", "calibration_slope"))
    drawn, tested = p * (1 - p), 0.25 * (1 - p) ** 2 + 0.75 * p**2
    assert found.apparent[:2] == pytest.approx([0.1875, 0.5])
    np.testing.assert_allclose(found.drawn[:, 0], drawn)
    np.testing.assert_allclose(found.tested[:, 0], tested)
    assert found.value("brier") == pytest.approx(0.1875 - (drawn - tested).mean())
    assert found.optimism[1] == pytest.approx(0)
    assert np.isnan(found.corrected[2]) and found.reasons[2] == "The measure is undefined for these risks."


def test_the_intervals() -> None:
    models = refit_ridge(DATA.x, DATA.y, penalty=1.0, counts=COUNTS)
    centred = estimate_optimism(models, DATA.y, level=0.9)
    shifted = estimate_optimism(models, DATA.y, level=0.9, interval="location_shift")
    for k, name in enumerate(centred.names):
        if name in HELD_BY_FITTING:
            assert np.isnan(centred.lower[k]) and centred.reasons[k] == HELD_REASON
            assert np.isfinite(centred.corrected[k])
            continue
        ends = np.quantile(centred.drawn[:, k], [0.05, 0.95])
        assert [shifted.lower[k], shifted.upper[k]] == pytest.approx(ends - shifted.optimism[k])
        assert centred.upper[k] - centred.lower[k] == pytest.approx(ends[1] - ends[0])
        assert centred.lower[k] < centred.corrected[k] < centred.upper[k]


def test_draws_without_a_model_are_said_and_too_many_of_them_refused() -> None:
    risks = refit_ridge(DATA.x, DATA.y, penalty=1.0, counts=COUNTS)
    whole = risks.predict(slice(None), slice(None))
    whole[0] = np.nan
    lost = ("it did not converge", *[""] * 24)
    found = estimate_optimism(as_models(risks.original, whole, COUNTS, lost), DATA.y, names=("auroc",))
    assert np.isfinite(found.corrected[0]) and not found.checks[0].passed
    assert "it did not converge" in found.checks[0].text
    assert found.optimism[0] == pytest.approx((found.drawn - found.tested)[1:].mean())
    lost = (*["it did not converge"] * 2, *[""] * 23)
    found = estimate_optimism(as_models(risks.original, whole, COUNTS, lost), DATA.y, names=("auroc",))
    assert np.isnan(found.corrected[0]) and "more than 5%" in found.reasons[0]


def test_a_fit_that_is_not_estimable_leaves_its_reason() -> None:
    def refuses(rows: np.ndarray) -> Predict:
        if len(rows) != len(DATA.y):
            raise NotEstimable(Fault("the model", "has too few events"))
        return fit(rows)

    models = refit_models(refuses, counts=np.vstack([np.ones(len(DATA.y)), np.full(len(DATA.y), 2)]))
    assert models.reasons == ("", "the model: has too few events.")
    assert np.isnan(models.predict(slice(1, 2), slice(0, 3))).all()
    with pytest.raises(ParameterError, match="probability a discharge"):
        refit_models(lambda rows: lambda at: np.full(len(at), 1.2), counts=COUNTS)


def test_an_inner_draw_is_a_draw_out_of_the_outer_one() -> None:
    inner = draw_inner_counts(COUNTS[0], DATA.person, replicates=400, rng=np.random.default_rng(1))
    first = np.unique(DATA.person, return_index=True)[1]
    assert not inner[:, COUNTS[0] == 0].any()
    assert (inner[:, first].sum(axis=1) == COUNTS[0][first].sum()).all()
    np.testing.assert_allclose(inner.mean(axis=0), COUNTS[0], atol=0.5)
    with pytest.raises(ParameterError, match="no draw of these people"):
        draw_inner_counts(np.arange(len(DATA.y)), DATA.person, replicates=2, rng=np.random.default_rng(1))


def test_two_stages_give_an_interval_for_what_fitting_holds_still() -> None:
    rng, names = np.random.default_rng(3), ("auroc", "calibration_slope")
    outer = draw_person_counts(DATA.person, replicates=20, rng=rng)
    found = estimate_two_stage(
        lambda row, inner: refit_ridge(DATA.x, DATA.y, penalty=1.0, base=row, counts=inner),
        DATA.y,
        outer=outer,
        inner=lambda row: draw_inner_counts(row, DATA.person, replicates=20, rng=rng),
        names=names,
    )
    assert (found.lower < found.upper).all()
    assert found.upper[1] - found.lower[1] > 0.05
    # The apparent value within an outer draw is that of the model fitted to it, on it.
    whole = refit_ridge(DATA.x, DATA.y, penalty=1.0, base=outer[0], counts=outer[:1])
    np.testing.assert_allclose(whole.original, whole.predict(slice(0, 1), slice(None))[0], atol=1e-9)
    apparent = compute_measures(whole.original, DATA.y, counts=outer[:1], names=names)["auroc"][0]
    assert found.corrected[0, 0] < apparent


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"level": 1.5}, ParameterError, "level"),
        ({"names": ("auc",)}, ParameterError, "auc"),
        ({"interval": "shifted"}, ParameterError, "interval"),
        ({"outcome": DATA.y[:9]}, ParameterError, "one shape"),
        ({"outcome": np.r_[np.ones(9), np.zeros(len(DATA.y) - 9)]}, NotEstimable, "fewer than 10"),
        ({"models": refit_ridge(DATA.x, DATA.y, penalty=1.0, counts=COUNTS[:19])}, NotEstimable, "too few draws"),
        (
            {"models": refit_ridge(DATA.x[:400], DATA.y[:400], penalty=1.0, counts=COUNTS[:, :400], x_new=DATA.x)},
            ParameterError, "developed on",
        ),
    ],
)  # fmt: skip
def test_malformed_arguments_are_refused(change: dict, error: type[Exception], message: str) -> None:
    arguments = {"models": refit_ridge(DATA.x, DATA.y, penalty=1.0, counts=COUNTS), "outcome": DATA.y} | change
    with pytest.raises(error, match=message):
        estimate_optimism(arguments.pop("models"), arguments.pop("outcome"), **arguments)
