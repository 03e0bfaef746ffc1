"""The Cox engine against R's survival 3.5-3 (R 4.2) on a small table of our own, written out here.

It has delayed entry, ties, weights, an offset, strata and clusters. In R:

    coxph(Surv(a, b, e) ~ x + z + offset(o) + strata(s), weights = w, cluster = id, ties = ...)

and residuals, cox.zph and basehaz of the same without `cluster`. R's numbers are written to 10 digits; all is
deterministic, so the relative tolerance is 1e-6 (1e-9 absolute for residuals, which may be 0).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import ParameterError
from evalkit.estimators.survival.cox import CoxOptions, fit_cox
from evalkit.estimators.survival.cox_checks import check_proportional_hazards
from evalkit.estimators.survival.cox_concordance import compute_concordance
from evalkit.estimators.survival.cox_residuals import (
    compute_baseline_hazard,
    compute_dfbeta,
    compute_martingale_residuals,
    compute_schoenfeld_residuals,
    compute_score_residuals,
)
from evalkit.estimators.survival.cox_survival import compute_survival

EXACT = 1e-6
SMALL = pd.DataFrame(
    [
        # id a  b  e    x    z    o  s    w
        (1, 0, 4, 1, 0.5, 1.0, 0.1, 0, 1.0),
        (1, 4, 7, 1, 0.8, 1.0, 0.1, 0, 1.0),
        (1, 7, 9, 0, 1.1, 1.0, 0.1, 0, 1.0),
        (2, 0, 4, 1, -0.3, 0.0, 0.0, 0, 2.0),
        (2, 4, 6, 1, -0.1, 0.0, 0.0, 0, 2.0),
        (3, 2, 6, 1, 1.4, 0.0, 0.3, 0, 0.5),
        (3, 6, 8, 0, 1.2, 0.0, 0.3, 0, 0.5),
        (4, 1, 7, 1, 0.2, 1.0, -0.2, 0, 1.5),
        (5, 0, 9, 0, -1.0, 0.0, 0.0, 0, 1.0),
        (6, 3, 5, 1, -0.6, 1.0, 0.2, 1, 1.0),
        (6, 5, 8, 0, -0.4, 1.0, 0.2, 1, 1.0),
        (7, 0, 5, 1, 0.9, 0.0, 0.0, 1, 0.8),
        (7, 5, 6, 1, 0.7, 0.0, 0.0, 1, 0.8),
        (8, 0, 7, 1, 0.1, 0.0, -0.1, 1, 1.2),
        (9, 2, 9, 0, -0.8, 1.0, 0.0, 1, 2.0),
        (9, 9, 11, 1, -0.9, 1.0, 0.0, 1, 2.0),
        (10, 4, 11, 1, 0.3, 0.0, 0.4, 1, 1.0),
        (11, 0, 12, 0, -0.2, 1.0, 0.0, 1, 1.0),
    ],
    columns=["id", "a", "b", "e", "x", "z", "o", "s", "w"],
)
SMALL_R: dict[str, dict] = {
    "efron": {
        "coef": [0.2286760258, -0.337553778],
        "naive_var": [0.151044483, 0.03198298611, 0.03198298611, 0.2910426774],
        "robust_var": [0.1828672046, 0.08080672996, 0.08080672996, 0.2457655001],
        "loglik": [-22.82295374, -22.40154486],
        "score": 0.8854021097,
        "concordance": 0.7489959839,
        "score_residual_x": [
            0.2151175498,
            -0.08649451102,
            0.0,
            -0.2463571779,
            -0.1859534388,
            -1.170490245,
            -1.315551872,
            -0.09748843786,
            1.955663354,
            -0.4705930584,
            0.08190850651,
            0.6754303911,
            0.6171425015,
            0.1471360772,
            0.2845874719,
            -0.3728308573,
            -0.5304510613,
            0.0545893332,
        ],
        "dfbeta_z": [
            0.1206596547,
            -0.01555593679,
            0.0,
            -0.1266192927,
            -0.1594941122,
            0.02228877304,
            0.07082299846,
            -0.04601256092,
            0.2452104976,
            0.1262703429,
            -0.04037961545,
            -0.05251829132,
            -0.06789406742,
            -0.07327139528,
            -0.1083483503,
            0.1079867526,
            0.1637943994,
            -0.1669397964,
        ],
        "martingale": [
            0.5891343153,
            -0.06187587561,
            0.0,
            0.5660716982,
            0.6307084344,
            -0.9135386271,
            -1.474543553,
            -0.08413597318,
            -1.600573655,
            0.8290979757,
            -0.2783732039,
            0.7236527432,
            0.8512772307,
            0.3912795863,
            -0.390722219,
            0.5354969481,
            -1.328425003,
            -1.24132871,
        ],
        "schoenfeld_x_sorted": [
            -0.6962066707,
            -0.5687212443,
            -0.4313620901,
            -0.2979735826,
            -0.1122273317,
            0.2516152342,
            0.3686379099,
            0.4877726683,
            0.5037933293,
            0.7249606582,
            0.9312787557,
            1.202026417,
        ],
        "zph": {
            "km": [0.005164590305, 0.2156574017, 0.2164222643],
            "rank": [0.2470811516, 0.2500608873, 0.3286814863],
            "identity": [0.3444122911, 0.2008113981, 0.3629603433],
            "log": [0.1238989514, 0.163157614, 0.2039104693],
        },
        "baseline_last": [2.182714057, 2.340647258],
    },
    "breslow": {
        "coef": [0.214505528, -0.3252345707],
        "naive_var": [0.1597787202, 0.03688924342, 0.03688924342, 0.2917353634],
        "robust_var": [0.1582327863, 0.05884729472, 0.05884729472, 0.1996134125],
        "loglik": [-24.88280659, -24.5018386],
        "score": 0.7965207737,
        "concordance": 0.7489959839,
        "score_residual_x": [
            0.2032772257,
            -0.09240443052,
            0.0,
            -0.1915107008,
            -0.1784712607,
            -1.104008271,
            -1.064726207,
            -0.1045715395,
            1.691970716,
            -0.4539546292,
            0.08132921044,
            0.6027783979,
            0.6239696666,
            0.1577043755,
            0.2803981214,
            -0.3346615851,
            -0.5616088662,
            0.05046247041,
        ],
        "dfbeta_z": [
            0.1057853075,
            -0.03994961201,
            0.0,
            -0.1080782806,
            -0.1233087567,
            0.02030973468,
            0.0748356226,
            -0.06893344834,
            0.2293565076,
            0.1147320036,
            -0.04008755122,
            -0.04693119009,
            -0.06689526561,
            -0.07651327273,
            -0.1021403141,
            0.1050986889,
            0.1705466924,
            -0.1478268659,
        ],
        "martingale": [
            0.5070336741,
            -0.09369565148,
            0.0,
            0.4798740387,
            0.5590796901,
            -0.8321171428,
            -1.228358643,
            -0.05481962036,
            -1.378778157,
            0.7802904737,
            -0.2813496456,
            0.6564614949,
            0.8535726017,
            0.4169632541,
            -0.3837382453,
            0.4857303848,
            -1.37727459,
            -1.034033699,
        ],
        "schoenfeld_x_sorted": [
            -0.6889863091,
            -0.5817764596,
            -0.3990853545,
            -0.3192232947,
            -0.1332122641,
            0.2564116069,
            0.4009146455,
            0.4667877359,
            0.5110136909,
            0.7310094834,
            0.9182235404,
            1.180776705,
        ],
        "zph": {
            "km": [0.01629083837, 0.2037632645, 0.2048607933],
            "rank": [0.2767420452, 0.2910590883, 0.3690947378],
            "identity": [0.3704816433, 0.2604957588, 0.4029523685],
            "log": [0.1571474575, 0.1995562874, 0.2498139884],
        },
        "baseline_last": [1.838529659, 1.909704505],
    },
}


def small() -> FollowUp:
    return FollowUp.from_frame(
        SMALL, entry="a", exit="b", event="e", cluster="id", stratum="s", weights="w", offset="o", covariates=("x", "z")
    )


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_coefficients_likelihoods_and_both_variances_of_the_small_table(ties):
    expected = SMALL_R[ties]
    fit = fit_cox(small(), options=CoxOptions(ties=ties))
    assert fit.coefficients == pytest.approx(expected["coef"], rel=EXACT)
    assert fit.variance.ravel() == pytest.approx(expected["naive_var"], rel=EXACT)
    assert fit.robust_variance.ravel() == pytest.approx(expected["robust_var"], rel=EXACT)
    assert [fit.log_likelihood_null, fit.log_likelihood] == pytest.approx(expected["loglik"], rel=EXACT)
    assert fit.score_test == pytest.approx(expected["score"], rel=EXACT)
    assert compute_concordance(fit, small()).value == pytest.approx(expected["concordance"], rel=EXACT)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_residuals_of_the_small_table(ties):
    expected, rows = SMALL_R[ties], small()
    fit = fit_cox(rows, options=CoxOptions(ties=ties))
    assert compute_score_residuals(fit, rows)[:, 0] == pytest.approx(expected["score_residual_x"], rel=EXACT, abs=1e-9)
    assert compute_dfbeta(fit, rows)[:, 1] == pytest.approx(expected["dfbeta_z"], rel=EXACT, abs=1e-9)
    assert compute_martingale_residuals(fit, rows) == pytest.approx(expected["martingale"], rel=EXACT, abs=1e-9)
    found = compute_schoenfeld_residuals(fit, rows)
    assert sorted(found.residuals[:, 0]) == pytest.approx(expected["schoenfeld_x_sorted"], rel=EXACT, abs=1e-9)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("transform", ["km", "rank", "identity", "log"])
def test_proportional_hazards_tests_of_the_small_table(ties, transform):
    fit = fit_cox(small(), options=CoxOptions(ties=ties))
    found = check_proportional_hazards(fit, small(), transform=transform)
    assert found.names == ("x", "z", "GLOBAL")
    assert found.chi_square == pytest.approx(SMALL_R[ties]["zph"][transform], rel=EXACT)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_baseline_hazards_of_the_small_table(ties):
    # R's basehaz(centered = FALSE) is at offset 0 only without an offset, so that this model has none.
    rows = FollowUp(**{**vars(small()), "offset": np.zeros(len(SMALL))})
    fit = fit_cox(rows, options=CoxOptions(ties=ties))
    found = compute_baseline_hazard(fit, rows)
    assert [h.cumulative[-1] for h in found] == pytest.approx(SMALL_R[ties]["baseline_last"], rel=EXACT)


# survfit(coxph(Surv(a, b, e) ~ x + z + strata(s), ties = ...), newdata = data.frame(x = 0.5, z = 1)), first stratum
SURVIVAL_R = {
    "efron": {
        "survival": [0.6558476191802, 0.4274454603956, 0.2522135648114],
        "se": [0.3479371131715, 0.540202926156, 0.7798908156097],
        "lower": [0.331618185497, 0.1482719996683, 0.0546920465483],
        "se_last_of_second": 1.210681599879,
    },
    "breslow": {
        "survival": [0.682938488763, 0.4732251903107, 0.298498878614],
        "se": [0.3121413682567, 0.4798661862668, 0.6705535628827],
        "lower": [0.3704131318383, 0.1847587503994, 0.08019854263977],
        "se_last_of_second": 1.027131600828,
    },
}


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_survival_and_its_error_on_the_small_table_without_weights_and_offset(ties):
    rows = FollowUp.from_frame(
        SMALL, entry="a", exit="b", event="e", cluster="id", stratum="s", covariates=("x", "z")
    )  # fmt: skip
    fit = fit_cox(rows, options=CoxOptions(ties=ties))
    first, second = compute_survival(fit, rows, at=np.array([0.5, 1.0]))
    expected = SURVIVAL_R[ties]
    assert first.survival == pytest.approx(expected["survival"], rel=EXACT)
    assert first.se == pytest.approx(expected["se"], rel=EXACT)
    assert first.lower == pytest.approx(expected["lower"], rel=EXACT)
    assert (first.upper <= 1).all()
    assert second.se[-1] == pytest.approx(expected["se_last_of_second"], rel=EXACT)
    with pytest.raises(ParameterError) as caught:
        compute_survival(fit, rows.with_weights(np.full(len(rows), 2.0)), at=np.zeros(3), level=2)
    assert [fault.where for fault in caught.value.faults] == ["at", "weights", "level"]
