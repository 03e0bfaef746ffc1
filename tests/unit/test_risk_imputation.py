"""Imputation that goes with a risk model: nobody's values hang on neighbours or outcomes; pooling; named refusals."""

from __future__ import annotations

import dataclasses
import math
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evalkit.core.errors import ParameterError
from evalkit.core.result import Check
from evalkit.estimators.people.impute_later import _mix, _uniform, _word
from evalkit.risk.data import RiskData
from evalkit.risk.imputation import (
    RiskImputationOptions,
    add_missing_indicators,
    impute_development,
    impute_features,
    impute_validation,
)
from evalkit.risk.imputation_pool import estimate_imputed_optimism, pool_performance, pool_refits, pool_risks
from evalkit.risk.missingness import check_missingness, compute_missing, compute_missing_contrast
from evalkit.risk.refit import RefittedModels, refit_ridge
from evalkit.risk.resample import draw_person_counts
from evalkit.risk.validate import RiskPerformance, validate_risk_model

NORMAL = RiskImputationOptions(imputations=3, iterations=4, numbers="normal")
MATCHING = RiskImputationOptions(imputations=3, iterations=4)


def make_data(n: int = 600, *, seed: int) -> RiskData:
    """`score` goes with `age` and is missing more often where age is high; three kinds of predictor have gaps."""
    rng = np.random.default_rng(seed)
    age = rng.normal(50, 10, n)
    z = (age - 50) / 10
    score = 3 + 2 * z + rng.normal(size=n)
    female = rng.random(n) < 1 / (1 + np.exp(-z))
    place = np.array(["north", "south", "west"])[np.digitize(z + rng.normal(size=n), [-0.5, 0.7])]
    outcome = (rng.random(n) < 1 / (1 + np.exp(-(-1 + 0.5 * (score - 3))))).astype(int)
    features = pd.DataFrame({
        "age": age,
        "score": pd.Series(score).mask(rng.random(n) < 1 / (1 + np.exp(1 - z))),
        "female": pd.array(np.where(rng.random(n) < 0.2, None, female), dtype="boolean"),
        "place": pd.Categorical(np.where(rng.random(n) < 0.2, None, place)),
    })  # fmt: skip
    day = np.datetime64("2015-01-01") + rng.integers(0, 900, n).astype("timedelta64[D]")
    return RiskData(features, outcome, np.array([f"p{i}" for i in range(n)]), day)


@pytest.fixture(scope="module")
def development() -> RiskData:
    return make_data(seed=1)


@pytest.fixture(scope="module")
def later() -> RiskData:
    return make_data(seed=2)


@pytest.fixture(scope="module", params=[NORMAL, MATCHING], ids=lambda o: o.numbers)
def models(request, development):
    return impute_development(development, options=request.param, rng=np.random.default_rng(3)).models


def learn(data, options=MATCHING, seed=3):
    return impute_development(data, options=options, rng=np.random.default_rng(seed))


# ---- who depends on what -------------------------------------------------------------------------


def test_every_gap_is_filled_and_nothing_known_is_changed(development, later):
    sets, models = learn(development)
    for source, filled in ((development, sets), (later, impute_validation(models, later))):
        assert len(filled) == 3
        known = source.features.notna().to_numpy()
        for data in filled:
            assert not data.features.isna().to_numpy().any()
            before, after = (d.features.astype(object).to_numpy()[known] for d in (source, data))
            assert (before == after).all()
            assert np.array_equal(data.outcome, source.outcome)


def test_a_discharge_alone_is_given_what_it_is_given_among_others(models, later):
    together = impute_features(models, later.features, keys=later.person)
    gaps = np.flatnonzero(later.features.isna().any(axis=1))[:40]
    for row in gaps:
        alone = impute_features(models, later.features.iloc[[row]], keys=later.person[[row]])
        for one, all_of_them in zip(alone, together, strict=True):
            assert one.iloc[0].to_dict() == all_of_them.iloc[row].to_dict()


def test_permuted_discharges_are_given_the_same_values_permuted(models, later):
    order = np.random.default_rng(0).permutation(len(later))
    plain = impute_validation(models, later)
    turned = impute_validation(models, dataclasses.replace(later, **{
        name: getattr(later, name)[order] for name in ("outcome", "person", "time")
    }, features=later.features.iloc[order], groups=None))  # fmt: skip
    for before, after in zip(plain, turned, strict=True):
        assert before.features.iloc[order].reset_index(drop=True).equals(after.features)


def test_no_outcome_is_looked_at(development, later):
    """Neither of those imputed later, nor, where it is left out, of development."""
    flipped = dataclasses.replace(development, outcome=1 - development.outcome)
    for options, same in ((MATCHING, True), (dataclasses.replace(MATCHING, outcome="used_in_development"), False)):
        (sets, models), (other_sets, other_models) = learn(development, options), learn(flipped, options)
        equal = [a.features.equals(b.features) for a, b in zip(sets, other_sets, strict=True)]
        assert all(equal) is same
        turned = impute_validation(other_models, dataclasses.replace(later, outcome=1 - later.outcome))
        for a, b in zip(impute_validation(models, later), turned, strict=True):
            assert a.features.equals(b.features)


def test_the_generator_alone_decides(development, later):
    first, again, other = (impute_validation(learn(development, seed=s).models, later) for s in (3, 3, 4))
    assert first[0].features.equals(again[0].features)
    assert not first[0].features.equals(other[0].features)
    assert not first[0].features.equals(first[1].features)
    keyed = impute_features(learn(development).models, later.features, keys=np.arange(len(later)))
    assert not keyed[0].equals(first[0].features)


def test_kept_models_survive_a_file(models, later):
    copy = pickle.loads(pickle.dumps(models))
    for a, b in zip(impute_validation(models, later), impute_validation(copy, later), strict=True):
        assert a.features.equals(b.features)


# ---- are the values right ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [NORMAL, MATCHING], ids=lambda o: o.numbers)
def test_imputed_values_follow_what_is_known(options):
    """score given age is normal with mean 3 + 2 z and sd 1, in those imputed too (n large, 4 Monte-Carlo errors)."""
    _, models = learn(make_data(3000, seed=5), options)
    fresh = make_data(4000, seed=6)
    gaps = fresh.features["score"].isna().to_numpy()
    error = 1 / math.sqrt(gaps.sum())
    for data in impute_validation(models, fresh):
        z = (data.features["age"].to_numpy() - 50) / 10
        rest = (data.features["score"].to_numpy() - 3 - 2 * z)[gaps]
        assert abs(rest.mean()) < 4 * error + 0.08  # 0.08: the models' own error, learnt from 3,000
        assert abs(np.polyfit(z[gaps], rest, 1)[0]) < 0.15
        assert rest.std() == pytest.approx(1, abs=0.1)
        share = data.features.loc[fresh.features["female"].isna(), "female"].astype(float)
        slope = np.cov(share, z[share.index])[0, 1]
        assert slope == pytest.approx(0.2066, abs=0.06)  # E[z expit(z)], z standard normal, by quadrature


def test_random_numbers_of_rows_are_uniform_and_unrelated():
    stream = _mix(pd.util.hash_array(np.arange(20_000).astype(str).astype(object)) ^ _word(17))
    draws = np.array([_uniform(stream, step) for step in range(6)])
    assert draws.min() > 0
    assert draws.max() < 1
    assert draws.mean(axis=1) == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / 20_000))
    counts = np.array([np.histogram(row, 20, (0, 1))[0] for row in draws])
    assert (((counts - 1000) ** 2 / 1000).sum(axis=1) < 45.3).all()  # chi-squared of 19, P = 0.0006
    correlations = np.corrcoef(np.vstack([draws, np.roll(draws[0], 1)]))[np.triu_indices(7, 1)]
    assert np.abs(correlations).max() < 4.5 / math.sqrt(20_000)


# ---- refusals ------------------------------------------------------------------------------------


def with_features(data, **columns):
    return dataclasses.replace(data, features=data.features.assign(**columns))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(age=f["age"].where(f["age"] < 60)), '"age": .* are missing, and none was in development'),
        (lambda f: f.assign(age=f["age"].astype(str)), '"age": has changed its type. Got category. Allowed: number'),
        (lambda f: f.assign(place=1.0), '"place": has changed its type. Got number. Allowed: category'),
        (lambda f: f.assign(place="east"), '"place": 600 rows hold a category never met'),
        (lambda f: f.drop(columns="female"), '"female": is missing'),
        (lambda f: f.assign(score=np.nan), '"score": is wholly missing in validation'),
    ],
)
def test_later_discharges_that_are_refused(development, later, change, message):
    models = learn(development).models
    with pytest.raises(ParameterError, match=message):
        impute_validation(models, later.with_features(change(later.features)))


def test_few_rows_are_not_counted_and_all_faults_come_at_once(development, later):
    models = learn(development).models
    features = later.features.assign(age=later.features["age"].where(np.arange(600) > 2), score=np.inf)
    with pytest.raises(ParameterError, match="fewer than 10 rows are missing") as caught:
        impute_features(models, features, keys=later.person)
    assert len(caught.value.faults) == 2


def test_an_unseen_category_may_stay_and_tells_nothing(development, later):
    models = learn(development).models
    strange = later.features.assign(place=later.features["place"].astype(object).where(np.arange(600) > 99, "east"))
    found = impute_features(models, strange, keys=later.person, on_unseen="pool")
    for frame in found:
        assert (frame["place"].iloc[:100] == "east").all()
        assert not frame.isna().to_numpy().any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imputations": 1}, "imputations: out of range"),
        ({"outcome": "used"}, "outcome: unknown"),
        ({"numbers": "mean"}, "numbers: unknown"),
        ({"iterations": 0}, "iterations: out of range"),
    ],
)
def test_options_that_are_refused(development, options, message):
    with pytest.raises(ParameterError, match=message):
        learn(development, RiskImputationOptions(**options))


def test_development_that_is_refused(development):
    with pytest.raises(ParameterError, match='"score": is wholly missing'):
        learn(with_features(development, score=np.nan))
    with pytest.raises(ParameterError, match="rng"):
        impute_development(development, rng=7)
    with pytest.raises(ParameterError, match="keys: are missing for some rows, or do not match"):
        impute_features(learn(development).models, development.features, keys=[1, 2])


def test_nothing_missing_gives_copies_and_later_gaps_are_refused(development, later):
    whole = development.with_features(development.features[["age"]])
    sets, models = learn(whole)
    assert all(data.features.equals(whole.features) for data in sets)
    assert len(impute_validation(models, later)) == 3
    with pytest.raises(ParameterError, match=r'"age": .* are missing'):
        impute_validation(models, with_features(later, age=later.features["age"].mask(later.features["age"] > 50)))


# ---- pooling -------------------------------------------------------------------------------------


def performance(values: dict[str, float], *, se: float = 0.02, checks=()) -> RiskPerformance:
    n = len(values)
    nan = (math.nan,) * n
    return RiskPerformance(tuple(values), tuple(values.values()), (se,) * n, nan, nan, 0.95, 900, 800, 90, checks)


def test_rubin_on_the_right_scale_by_hand():
    """Two imputations: W, B, T, Rubin's degrees of freedom and t by hand (scipy.stats.t.ppf(0.975, df))."""
    first = {"auroc": 0.7, "observed_expected": 0.9, "calibration_slope": 0.9}
    second = {"auroc": 0.8, "observed_expected": 1.1, "calibration_slope": 1.1}
    found = pool_performance([performance(first), performance(second)])
    for name, there, back, slope in (
        ("auroc", lambda v: np.log(v / (1 - v)), lambda s: 1 / (1 + np.exp(-s)), lambda v: 1 / (v * (1 - v))),
        ("observed_expected", np.log, np.exp, lambda v: 1 / v),
        ("calibration_slope", lambda v: v, lambda s: s, lambda v: v**0),
    ):
        values = np.array([0.7, 0.8] if name == "auroc" else [0.9, 1.1])
        within, between = ((slope(values) * 0.02) ** 2).mean(), there(values).var(ddof=1)
        total = within + 1.5 * between
        half = stats.t.ppf(0.975, (1 + within / (1.5 * between)) ** 2) * math.sqrt(total)
        middle = there(values).mean()
        row = found.frame.loc[name]
        assert row["value"] == pytest.approx(back(middle), rel=1e-12)
        assert row["lower"] == pytest.approx(back(middle - half), rel=1e-10)
        assert row["upper"] == pytest.approx(back(middle + half), rel=1e-10)
        assert row["se"] == pytest.approx(math.sqrt(total) / slope(back(middle)), rel=1e-10)


def test_scaled_brier_keeps_its_ends_in_order_and_below_one():
    found = pool_performance([performance({"scaled_brier": v}, se=0.2) for v in (0.1, 0.3, 0.2)]).frame
    assert found.loc["scaled_brier", "lower"] < found.loc["scaled_brier", "value"] < found.loc["scaled_brier", "upper"]
    assert found.loc["scaled_brier", "upper"] < 1


def test_what_one_imputation_lacks_is_not_pooled_and_failed_checks_stay():
    good, bad = Check("events", True, 1.0, "enough"), Check("events", False, 1.0, "too few")
    first = performance({"auroc": 0.7, "calibration_slope": math.nan}, checks=(good,))
    found = pool_performance([first, performance({"auroc": 0.71, "calibration_slope": 1.0}, checks=(bad,))])
    assert math.isnan(found.value("calibration_slope"))
    assert {c.name: c.passed for c in found.checks} == {"events": False, "imputations": False}
    with pytest.raises(ParameterError, match="too few to pool"):
        pool_performance([first])
    with pytest.raises(ParameterError, match="differ in their measures"):
        pool_performance([first, performance({"auroc": 0.7})])


def test_equal_sets_pool_to_themselves():
    rng = np.random.default_rng(4)
    risk = rng.uniform(0.05, 0.6, 2000)
    one = validate_risk_model(risk, (rng.random(2000) < risk).astype(int), person=np.arange(2000), rng=rng)
    found = pool_performance([one, one, one])
    assert found.values == pytest.approx(one.values, rel=1e-9)


def test_risks_are_averaged_as_probabilities():
    pooled = pool_risks([np.array([0.01, 0.2]), np.array([0.99, 0.2])])
    assert pooled.risk == pytest.approx([0.5, 0.2])
    assert pooled.spread == pytest.approx([0.98 / math.sqrt(2), 0.0])
    for risks, message in (([np.array([0.1])], "too few imputations"), ([np.array([0.1]), np.array([1.2])], "above 1")):
        with pytest.raises(ParameterError, match=message):
            pool_risks(risks)


def refits(sets, counts):
    return [refit_ridge(d.features[["age", "score"]].to_numpy(), d.outcome, penalty=1.0, counts=counts) for d in sets]


def test_refits_are_averaged_draw_by_draw(development):
    imputed = learn(development)
    counts = draw_person_counts(development.person, replicates=25, rng=np.random.default_rng(1))
    each = refits(imputed.sets, counts)
    pooled = pool_refits(each)
    assert pooled.original == pytest.approx(np.mean([r.original for r in each], axis=0))
    rows = np.array([3, 599])
    assert pooled.predict(slice(4, 7), rows) == pytest.approx(
        np.mean([r.predict(slice(4, 7), rows) for r in each], axis=0)
    )
    found = estimate_imputed_optimism(imputed, lambda d: refits([d], counts)[0], names=["auroc"])
    assert found.optimism == pytest.approx((found.drawn - found.tested).mean(axis=0))
    assert found.lower < found.corrected < found.upper
    other = refits(imputed.sets[:1], counts[::-1])
    with pytest.raises(ParameterError, match="differ in their draws"):
        pool_refits([each[0], *other])
    with pytest.raises(ParameterError, match="too few imputations"):
        pool_refits(each[:1])


def test_a_draw_that_one_imputed_set_cannot_fit_has_its_reason():
    counts = np.ones((2, 3), dtype=np.uint16)
    good = RefittedModels(np.full(3, 0.2), counts, ("", ""), lambda m, _: np.full((m.stop - m.start, 3), 0.2))
    bad = dataclasses.replace(good, reasons=("", "separation"))
    assert pool_refits([good, bad]).reasons == ("", "separation")


# ---- what is missing, and what it tells ----------------------------------------------------------


def test_shares_missing(development, later):
    found = compute_missing(development, later.with_features(later.features.drop(columns="place")))
    assert found.loc["score", "development"] == development.features["score"].isna().mean()
    assert found.loc["age"].tolist() == [0.0, 0.0]
    assert math.isnan(found.loc["place", "validation"])


def informative(n: int, *, effect: float, seed: int) -> tuple[RiskData, np.ndarray]:
    """Outcome and gap of `score` tied by `effect` on the log-odds, beyond `risk`."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(n // 2), 2)
    gap = rng.random(n) < 0.3
    risk = 1 / (1 + np.exp(-(-1.5 + rng.normal(0, 0.7, n))))
    odds = risk / (1 - risk) * np.exp(effect * gap)
    features = pd.DataFrame({"score": pd.Series(rng.normal(size=n)).mask(gap), "age": rng.normal(size=n)})
    outcome = (rng.random(n) < odds / (1 + odds)).astype(int)
    return RiskData(features, outcome, person, np.full(n, np.datetime64("2015-01-01"))), risk


def test_missingness_that_tells_is_told():
    data, risk = informative(4000, effect=0.6, seed=1)
    for given in (None, risk):
        check = check_missingness(data, risk=given)
        assert check.passed is False
        assert check.value == 1
        assert "score (1." in check.text
    gap = data.features["score"].isna()
    ratio = data.outcome[gap].mean() / data.outcome[~gap].mean()
    assert compute_missing_contrast(data).loc["score", "ratio"] == pytest.approx(ratio, rel=1e-12)


def test_missingness_is_seldom_told_where_it_tells_nothing():
    worlds = (informative(400, effect=0.0, seed=seed) for seed in range(200))
    p = np.array([compute_missing_contrast(data, risk=risk).loc["score", "p_value"] for data, risk in worlds])
    assert abs(np.mean(p < 0.05) - 0.05) < 3 * math.sqrt(0.05 * 0.95 / 200)


def test_the_score_test_by_hand():
    """Without repeats and without risks: the covariance of gap and outcome over the root of its own squares."""
    data, _ = informative(800, effect=0.3, seed=3)
    data = dataclasses.replace(data, person=np.arange(800))
    gap, y = data.features["score"].isna().to_numpy(), data.outcome
    e, m = y - y.mean(), gap - gap.mean()
    z = (e @ m) / math.sqrt(800 / 799 * ((e * m) ** 2).sum())
    assert compute_missing_contrast(data).loc["score", "p_value"] == pytest.approx(math.erfc(abs(z) / math.sqrt(2)))


def test_too_few_to_tell_and_nothing_missing():
    data, _ = informative(4000, effect=0.0, seed=2)
    score = pd.Series(np.where(np.arange(4000) < 12, np.nan, 1.0))
    assert check_missingness(with_features(data, score=score)).passed is None
    assert check_missingness(with_features(data, score=1.0)).passed is True
    with pytest.raises(ParameterError, match="is 0 or 1 for some"):
        check_missingness(data, risk=np.ones(4000))


def test_indicators_say_what_was_not_recorded(development):
    filled = learn(development).sets[0].features
    found = add_missing_indicators(filled, development.features, names=["score"])
    assert found["score (not recorded)"].tolist() == development.features["score"].isna().tolist()
    with pytest.raises(ParameterError, match='"weight": is missing'):
        add_missing_indicators(filled, development.features, names=["weight"])
