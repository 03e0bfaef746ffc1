"""Instability over bootstrap models: cases worked by hand, bins that show nobody, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.risk import instability
from evalkit.risk.calibration import fit_calibration_curve, predict_calibration
from evalkit.risk.instability import InstabilityOptions, estimate_instability
from evalkit.risk.refit import RefittedModels, refit_ridge
from evalkit.risk.resample import draw_person_counts
from tests.refit_cases import as_models, make_discharges

N = 200
OWN = np.linspace(0.1, 0.5, N)
Y = np.tile([0, 0, 1, 0], N // 4)
AWAY = np.linspace(-0.04, 0.08, 41)  # of each bootstrap model from the model itself, alike for everybody


def shifted(reasons: tuple[str, ...] = ()) -> RefittedModels:
    return as_models(OWN, OWN + AWAY[:, None], np.ones((41, N)), reasons)


def test_worked_by_hand() -> None:
    options = InstabilityOptions(thresholds=(0.3,), bins=5, level=0.9, beyond=0.03)
    found = estimate_instability(shifted(), Y, person=np.arange(N), options=options)
    assert found.mape == pytest.approx(np.abs(AWAY).mean())
    assert found.share_beyond == 1.0  # the mean of |AWAY| is 0.0341
    np.testing.assert_array_equal(found.curve["n_discharges"], np.full(5, 40))
    np.testing.assert_allclose(found.curve["share"], [0.1, 0.3, 0.5, 0.7, 0.9])
    means = OWN.reshape(5, 40).mean(axis=1)
    np.testing.assert_allclose(found.curve["risk"], means)
    np.testing.assert_allclose(found.curve["low"], means + np.quantile(AWAY, 0.05))
    np.testing.assert_allclose(found.curve["high"], means + np.quantile(AWAY, 0.95))
    other = ((OWN + AWAY[:, None]) >= 0.3) != (OWN >= 0.3)
    row = found.classification.iloc[0]
    assert row["changed"] == pytest.approx(other.mean())
    assert row["share_beyond"] == pytest.approx((other.mean(axis=0) > 0.1).mean())


def test_calibration_curves_are_those_of_each_model_on_everybody() -> None:
    found = estimate_instability(shifted(), Y, person=np.arange(N)).calibration
    grid = found["predicted"].to_numpy()
    curves = np.stack([predict_calibration(fit_calibration_curve(OWN + a, Y), grid)[0] for a in AWAY])
    inside = (grid >= OWN.min() + AWAY.max()) & (grid <= OWN.max() + AWAY.min())
    np.testing.assert_allclose(found["low"][inside], np.quantile(curves, 0.025, axis=0)[inside], rtol=1e-8)
    np.testing.assert_allclose(found["high"][inside], np.quantile(curves, 0.975, axis=0)[inside], rtol=1e-8)
    assert found["low"][~inside].isna().any()  # where the models' own risks do not reach, nothing is said


def test_a_model_that_never_changes_is_stable() -> None:
    models = as_models(OWN, np.tile(OWN, (20, 1)), np.ones((20, N)))
    found = estimate_instability(models, Y, person=np.arange(N))
    assert found.mape == 0 and found.share_beyond == 0 and (found.classification["changed"] == 0).all()
    np.testing.assert_allclose(found.calibration["low"], found.calibration["high"])


def test_no_bin_shows_a_few_people() -> None:
    person = np.repeat(np.arange(N // 5), 5)  # 20 discharges are of 4 people
    found = estimate_instability(shifted(), Y, person=person, options=InstabilityOptions(bins=20)).curve
    assert found["n_people"].min() >= 10 and found["n_discharges"].min() >= 20
    assert found["n_discharges"].sum() == N and found["risk"].is_monotonic_increasing
    ties = np.r_[np.full(190, 0.2), np.linspace(0.3, 0.4, 10)]
    models = as_models(ties, np.tile(ties, (20, 1)), np.ones((20, N)))
    assert len(estimate_instability(models, Y, person=np.arange(N)).curve) == 1


def test_more_people_make_a_model_more_stable_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for n in (300, 1500):
        data = make_discharges(n)
        counts = draw_person_counts(data.person, replicates=30, rng=np.random.default_rng(1))
        models = refit_ridge(data.x, data.y, penalty=1.0, counts=counts)
        found.append(estimate_instability(models, data.y, person=data.person))
    assert found[0].mape > 1.5 * found[1].mape
    monkeypatch.setattr(instability, "BLOCK", 1000)
    again = estimate_instability(models, data.y, person=data.person)
    assert again.mape == pytest.approx(found[1].mape)
    np.testing.assert_allclose(again.curve, found[1].curve)


def test_models_that_failed_are_left_out_and_said() -> None:
    found = estimate_instability(shifted(("no fit", *[""] * 40)), Y, person=np.arange(N))
    assert found.mape == pytest.approx(np.abs(AWAY[1:]).mean())
    assert not found.checks[0].passed and "1 of 41" in found.checks[0].text
    with pytest.raises(NotEstimable, match="too few bootstrap models"):
        estimate_instability(shifted((*["no fit"] * 22, *[""] * 19)), Y, person=np.arange(N))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"person": np.repeat(np.arange(5), 40)}, NotEstimable, "10 people"),
        ({"outcome": np.r_[np.ones(9), np.zeros(191)]}, NotEstimable, "fewer than 10"),
        ({"person": np.arange(5)}, ParameterError, "one shape"),
        ({"options": InstabilityOptions(thresholds=(1.2,))}, ParameterError, "thresholds"),
        ({"options": InstabilityOptions(bins=0)}, ParameterError, "bins"),
        ({"options": InstabilityOptions(beyond=-1.0)}, ParameterError, "beyond"),
    ],
)
def test_malformed_arguments_are_refused(change: dict, error: type[Exception], message: str) -> None:
    arguments = {"outcome": Y, "person": np.arange(N)} | change
    with pytest.raises(error, match=message):
        estimate_instability(shifted(), arguments.pop("outcome"), **arguments)
