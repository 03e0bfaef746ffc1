"""XmR charts: limits of published examples, each rule and where it stops, words, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.area.xmr import Xmr, XmrOptions, compute_xmr

# R's rnorm(20) after set.seed(123), to the digits that R prints; mean and limits as in the tests of the NHS-R
# package NHSRplotthedots (tests/testthat/_snaps/ptd_spc_standard.md, three significant digits).
SEED_123 = np.array(
    [
        -0.56047565, -0.23017749, 1.55870831, 0.07050839, 0.12928774, 1.71506499, 0.46091621, -1.26506123,
        -0.68685285, -0.44566197, 1.22408180, 0.35981383, 0.40077145, 0.11068272, -0.55584113, 1.78691314,
        0.49785048, -1.96661716, 0.70135590, -0.47279141,
    ]
)  # fmt: skip
# Around a mean of 0 with an average moving range of 1: limits ±2.66, outer third beyond 1.7733.
STABLE = np.array([0.5, -0.5] * 6)


def chart(later: list[float], *, better: str = "lower", **options: object) -> Xmr:
    return compute_xmr(np.r_[STABLE, later], baseline=len(STABLE), better=better, **options)


def test_limits_of_nhs_r() -> None:
    found = compute_xmr(SEED_123, baseline=20, better="higher")
    assert found.mean[0] == pytest.approx(0.142, abs=5e-4)
    assert found.lower[0] == pytest.approx(-3.01, abs=5e-3)
    assert found.upper[0] == pytest.approx(3.29, abs=5e-3)
    assert not found.special.any()


def test_limits_by_hand() -> None:
    """Moving ranges 2, 4, 2 of mean 8/3 around a mean of 4: limits 4 ± 2.66 × 8/3, range limit 3.27 × 8/3."""
    found = compute_xmr(np.array([4.0, 6.0, 2.0, 4.0, 4.0]), baseline=4, better="lower")
    assert found.mean[0] == 4
    assert (found.lower[0], found.upper[0]) == pytest.approx((4 - 2.66 * 8 / 3, 4 + 2.66 * 8 / 3))
    assert found.moving_range_upper[0] == pytest.approx(3.27 * 8 / 3)
    assert np.isnan(found.moving_range[0])
    assert found.moving_range[1:] == pytest.approx([2, 4, 2, 0])


def test_the_baseline_alone_sets_the_limits() -> None:
    a, b = chart([9.0, 9.0]), chart([-50.0, 0.0])
    assert a.mean == pytest.approx(np.zeros(14))
    assert a.upper == pytest.approx(b.upper)
    assert a.upper[0] == pytest.approx(2.66)
    by_slice = compute_xmr(np.r_[STABLE, 9.0, 9.0], baseline=slice(0, 12), better="lower")
    assert by_slice.upper == pytest.approx(a.upper)


def test_a_point_beyond_a_limit() -> None:
    found = chart([2.67, -0.1, 2.65])
    assert list(np.flatnonzero(found.outside)) == [12]
    assert found.point[12] == "concern"
    assert chart([-2.67], better="lower").point[12] == "improvement"
    assert chart([-2.67], better="higher").point[12] == "concern"
    assert chart([-2.67], better="neither").point[12] == "low"
    assert chart([2.67], better="neither").point[12] == "high"


def test_a_shift_takes_seven() -> None:
    low = [-0.4, -0.2, -0.3, -0.1, -0.4, -0.2]  # the stable series ends below its mean, which makes the seventh
    found = chart(low)
    assert list(np.flatnonzero(found.shift)) == list(range(11, 18))
    assert set(found.point[11:18]) == {"improvement"}
    assert not chart(low[:5]).shift.any()
    assert not chart([*low[:3], 0.0, *low[:3]]).shift.any()  # a point on the mean ends it
    assert chart(low[:5], options=XmrOptions(shift=6)).shift.sum() == 6


def test_a_trend_takes_six() -> None:
    rise = [-0.4, -0.2, 0.1, 0.2, 0.3]  # from the last stable point, -0.5: six rising
    found = chart(rise)
    assert list(np.flatnonzero(found.trend)) == list(range(11, 17))
    assert found.point[11] == "concern"  # still below the mean, but rising where lower is better
    assert not chart(rise[:4]).trend.any()
    assert not chart([-0.4, -0.2, 0.1, 0.1, 0.2, 0.3]).trend.any()  # an equal point ends it
    assert not chart(rise, options=XmrOptions(trend=7)).trend.any()
    fall = chart([0.4, 0.3, 0.2, 0.1, -0.1, -0.2], better="higher")
    assert fall.trend.sum() == 6
    assert fall.point[12] == "concern"


@pytest.mark.parametrize(
    ("later", "flagged"),
    [
        ([2.0, 0.2, 2.0], [12, 14]),
        ([2.0, 2.0, 0.2], [12, 13]),
        ([0.2, 2.0, 2.0], [13, 14]),
        ([2.0, -2.0, 0.2], []),  # on both sides of the mean
        ([2.0, 0.2, 0.2, 2.0], []),  # two of four
        ([1.77, 1.77, 1.77], []),  # within two thirds of the way
        ([2.0, -0.2, 2.0], []),  # NHSRplotthedots, too, wants all three on one side
    ],
)
def test_two_of_three_near_a_limit(later: list[float], flagged: list[int]) -> None:
    assert list(np.flatnonzero(chart(later).two_of_three)) == flagged


def test_words_of_variation_and_assurance() -> None:
    assert chart([0.1]).variation == "common cause"
    assert chart([-3.0]).variation == "improvement"
    assert chart([0.1]).assurance == ""
    assert chart([0.1], target=3.0).assurance == "consistently meets target"
    assert chart([0.1], target=-3.0).assurance == "consistently misses target"
    assert chart([0.1], target=0.0).assurance == "hit or miss"
    assert chart([0.1], better="higher", target=3.0).assurance == "consistently misses target"
    assert chart([0.1], better="higher", target=-3.0).assurance == "consistently meets target"
    assert chart([0.1], better="neither", target=3.0).assurance == ""


def test_rebasing_begins_anew_and_says_so() -> None:
    later = list(STABLE - 10)
    fixed = chart(later)
    rebased = chart(later, rebase_at=12)
    assert fixed.outside[12:].all()
    assert not rebased.special.any()
    assert rebased.mean[12:] == pytest.approx(-10 * np.ones(12))
    assert rebased.mean[:12] == pytest.approx(np.zeros(12))
    assert np.isnan(rebased.moving_range[12])
    assert any("computed anew" in note for note in rebased.notes)
    assert fixed.notes == ()


def test_a_short_baseline_is_noted() -> None:
    found = compute_xmr(SEED_123, baseline=8, better="lower")
    assert any("8 points" in note for note in found.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": np.array([1.0, np.nan, 2, 3])}, "finite"),
        ({"values": np.ones((2, 3))}, "one series"),
        ({"baseline": 30}, "longer than the series"),
        ({"better": "up"}, "lower, higher, neither"),
        ({"target": np.inf}, "target"),
        ({"options": XmrOptions(trend=2)}, "trend 3 or more"),
        ({"rebase_at": 0}, "no place"),
        ({"rebase_at": 10}, "beyond the place of rebasing"),
        ({"baseline": slice(0, 12, 2)}, "neighbouring"),
    ],
)
def test_what_cannot_be_charted(change: dict, words: str) -> None:
    given = {"values": SEED_123, "baseline": 12, "better": "lower"} | change
    with pytest.raises(ParameterError, match=words):
        compute_xmr(given.pop("values"), **given)


def test_too_few_points() -> None:
    with pytest.raises(NotEstimable, match="3 or more"):
        compute_xmr(SEED_123, baseline=2, better="lower")
    with pytest.raises(NotEstimable, match="3 or more"):
        compute_xmr(SEED_123, baseline=12, better="lower", rebase_at=18)


def test_false_alarms_are_rare_under_common_cause() -> None:
    """Of independent normal points beyond a long baseline's limits: 0.27% by theory; 3 Monte-Carlo errors allowed."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=20_000)
    found = compute_xmr(values, baseline=10_000, better="lower")
    share = found.outside[10_000:].mean()
    assert abs(share - 0.0027) < 3 * np.sqrt(0.0027 / 10_000) + 0.0003  # the baseline's own error
