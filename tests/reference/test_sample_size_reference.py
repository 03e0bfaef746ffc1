"""Sample size against the authors' published software: pmsampsize 1.1.3 (R), 0.1.0 (Python), pmvalsampsize 0.2.1.

Their examples and tests, as printed. They are met exactly unless said: where pmvalsampsize draws a million people
(slope), or takes a standard error in steps of 0.0001 or to three digits (O/E, net benefit), the same standard error is
given here, or the tolerance is that of the draws.
"""

from __future__ import annotations

import math

import pytest

from evalkit.risk.sample_criteria import (
    Z95,
    Flagging,
    ValidationTargets,
    compute_development_size,
    compute_survival_development_size,
    compute_validation_size,
    needed_for_net_benefit,
    needed_for_observed_expected,
)
from evalkit.risk.sample_spread import (
    build_beta_odds,
    build_normal_odds,
    build_odds_from_auroc,
    compute_flagging,
    compute_largest_r2,
    compute_largest_survival_r2,
    compute_r2_from_auroc,
)


def sizes(needed) -> list[int]:
    return [criterion.needed for criterion in needed.criteria]


@pytest.mark.parametrize(
    ("parameters", "prevalence", "r2", "expected"),
    [
        (24, 0.174, 0.288, [623, 662, 221]),  # help page and test 4.1; Riley 2019, section 6 (Chagas disease)
        (24, 0.174, 0.55, [255, 532, 221]),  # test 4.2
        (36, 0.174, 0.288, [934, 992, 221]),  # test 4.3
        (24, 0.25, 0.288, [623, 590, 289]),  # test 4.4
        (30, 0.05, 0.049, [5359, 1771, 73]),  # run with nagrsquared 0.15, which it rounds to R2 0.049
        (20, 0.3, 0.048, [3650, 544, 323]),  # run
    ],
)
def test_development(parameters, prevalence, r2, expected):
    assert sizes(compute_development_size(parameters=parameters, prevalence=prevalence, r2=r2)) == expected


@pytest.mark.parametrize(
    ("parameters", "rate", "horizon", "mean_follow_up", "r2", "expected"),
    [
        (30, 0.065, 2, 2.07, 0.051, [5143, 1039]),  # help page; Riley 2020, BMJ
        (25, 0.065, 2, 2.07, 0.051, [4286, 866]),  # test 3.1
        (25, 0.065, 2, 2.07, 0.065, [3335, 859]),  # test 3.2
        (50, 0.065, 2, 2.07, 0.051, [8572, 1731]),  # test 3.3
        (25, 0.1, 2, 2.07, 0.051, [4286, 731]),  # test 3.4
        (25, 0.065, 4, 2.07, 0.051, [4286, 866]),  # test 3.5
        (25, 0.065, 2, 4, 0.051, [4286, 679]),  # test 3.6
        (40, 0.08, 3, 5, 0.06, [5798, 969]),  # test 3.7
        (10, 0.09, 3, 3, 0.03, [2950, 272]),  # test 3.8
        (80, 0.03, 1, 5, 0.3, [1974, 2272]),  # test 3.9
    ],
)
def test_development_in_time(parameters, rate, horizon, mean_follow_up, r2, expected):
    # It takes the largest R2 from 10,000 people whose events it rounds up; the same rate is given here.
    rounded = math.ceil(rate * (mean_follow_up * 10_000)) / 10_000 / mean_follow_up
    needed = compute_survival_development_size(
        parameters=parameters, rate=rounded, horizon=horizon, mean_follow_up=mean_follow_up, r2=r2
    )
    assert sizes(needed)[:2] == expected
    assert needed.discharges == max(expected)


def test_largest_r2():
    assert compute_largest_r2(0.174) == pytest.approx(0.6032086677670352, rel=1e-12)
    assert compute_largest_r2(0.05) == pytest.approx(0.32768647129508865, rel=1e-12)
    rounded = math.ceil(0.065 * 2.07 * 10_000) / 10_000 / 2.07
    assert compute_largest_survival_r2(rate=rounded, mean_follow_up=2.07) == pytest.approx(
        0.5547264935529718, rel=1e-12
    )


@pytest.mark.parametrize(
    ("auroc", "prevalence", "r2"),
    [(0.89, 0.174, 0.2908), (0.7, 0.11, 0.0508), (0.65, 0.2, 0.0450)],  # a million draws, rounded to four digits
)
def test_r2_from_auroc(auroc, prevalence, r2):
    # Standard error of a simulated R2: twice the root of R2 over the number drawn, near enough.
    assert compute_r2_from_auroc(auroc, prevalence=prevalence) == pytest.approx(r2, abs=3 * 2 * math.sqrt(r2 / 1e6))


@pytest.mark.parametrize(
    ("auroc", "prevalence", "odds", "slope", "area"),
    [
        (0.8, 0.018, build_normal_odds(mean=-5, sd=2.5), 4544, 4252),  # help page, first example
        (0.8, 0.018, build_beta_odds(alpha=0.5, beta=0.5), 1644, 4252),  # help page, second example
        (0.8, 0.018, None, 17173, 4252),  # help page, third example, from the mean -4.7068 that it searches for
        (0.68, 0.2, None, 6340, 678),  # run
        (0.8, 0.43, build_beta_odds(alpha=1.33, beta=1.75), 2136, 308),  # the page of the Python package
    ],
)
def test_validation(auroc, prevalence, odds, slope, area):
    needed = compute_validation_size(auroc=auroc, prevalence=prevalence, odds=odds)
    assert sizes(needed)[1] == pytest.approx(slope, rel=0.005)  # a million draws
    assert sizes(needed)[2] == area


def test_validation_with_other_targets():
    targets = ValidationTargets(observed_expected=0.9, observed_expected_width=0.3, auroc_width=0.08, slope_width=0.3)
    odds = build_normal_odds(mean=-2.2, sd=0.56)
    needed = compute_validation_size(auroc=0.65, prevalence=0.11, odds=odds, targets=targets)
    assert sizes(needed)[1] == pytest.approx(6092, rel=0.005)
    assert sizes(needed)[2] == 1824


@pytest.mark.parametrize(
    ("prevalence", "observed_expected", "width", "expected"),
    [(0.018, 1, 1, 905), (0.2, 1, 0.2, 1538), (0.43, 1, 0.2, 510), (0.11, 0.9, 0.3, 1128)],
)
def test_observed_over_expected(prevalence, observed_expected, width, expected):
    steps = math.ceil(math.asinh(width / (2 * observed_expected)) / Z95 / 0.0001)
    assert needed_for_observed_expected(steps * 0.0001, prevalence=prevalence) == expected
    # Without the step the interval is no wider than was asked, at a few more.
    targets = ValidationTargets(observed_expected=observed_expected, observed_expected_width=width)
    exact = sizes(compute_validation_size(auroc=0.7, prevalence=prevalence, targets=targets))[0]
    assert expected <= exact <= 1.005 * expected


def test_net_benefit():
    """Run with the AUROC 0.68, which it turns into sensitivity 0.313 and specificity 0.876 by a million draws."""
    theirs = Flagging(0.3, sensitivity=0.313, specificity=0.876)
    assert needed_for_net_benefit(0.051, prevalence=0.2, flagging=theirs) == 676
    ours = compute_flagging(build_odds_from_auroc(0.68, prevalence=0.2), threshold=0.3)
    # Its mean of the log odds is searched for until the prevalence agrees to 0.0005, hence the width.
    assert ours.sensitivity == pytest.approx(theirs.sensitivity, abs=0.004)
    assert ours.specificity == pytest.approx(theirs.specificity, abs=0.004)
