"""Plain Newton fits of few columns: the careful solver's numbers, and NaN where that one is needed."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.estimators.people.logistic import fit_logistic
from evalkit.risk import quick_fit
from evalkit.risk.quick_fit import fit_few

RNG = np.random.default_rng(6)
ODDS = RNG.normal(-1.5, 1.0, 400)
X = np.column_stack([np.ones(400), ODDS, np.maximum(ODDS + 1, 0) ** 3])
Y = (RNG.random(400) < 1 / (1 + np.exp(-0.7 * ODDS))).astype(float)
COUNTS = RNG.poisson(1.0, (3, 400)).astype(np.uint16)


@pytest.mark.parametrize("rows", [8192, 50])
def test_it_gives_maximum_likelihood(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_fit, "_ROWS", rows)
    found = fit_few(X, Y, COUNTS, offset=None, start=np.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(found, fit_logistic(X, Y, weights=COUNTS.astype(float)), rtol=1e-9, atol=1e-11)
    shifted = fit_few(X[:, :1], Y, COUNTS, offset=ODDS, start=np.zeros(1))
    theirs = fit_logistic(X[:, :1], Y, weights=COUNTS.astype(float), offset=ODDS)
    np.testing.assert_allclose(shifted, theirs, rtol=1e-9)


def test_what_does_not_settle_is_nan() -> None:
    separated = fit_few(X[:, :2], (ODDS > -1.5).astype(float), COUNTS, offset=None, start=np.array([0.0, 1.0]))
    assert np.isnan(separated).all()
    twice = np.column_stack([X[:, :2], 2 * ODDS])
    assert np.isnan(fit_few(twice, Y, COUNTS, offset=None, start=np.array([0.0, 1.0, 0.0]))).all()
