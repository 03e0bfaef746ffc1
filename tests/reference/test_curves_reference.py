"""Curves of real people against R's survival 3.5-3 and cmprsk, to 1e-6 relative (measured: 1e-13)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.survival.cumulative_incidence import IncidenceOptions, compute_cumulative_incidence
from evalkit.estimators.survival.curves import compute_curve_at, compute_quantile, pick_curve
from evalkit.estimators.survival.kaplan_meier import SurvivalOptions, compute_survival
from evalkit.estimators.survival.mean_count import MeanCountOptions, compute_mean_count
from evalkit.estimators.survival.restricted_mean import FREE, RestrictedMeanOptions, compute_restricted_means
from tests.shared_data import reference, shared

RELATIVE = 1e-6
CAUSES = ("pcm", "death")
BASICS, MGUS, READMISSION, BLADDER = (
    reference(name) for name in ("surv_basics", "cr_mgus2", "rec_readmission", "rec_bladder")
)


def keys(numbers: dict[str, float], *starts: str) -> list[str]:
    return [key for key in numbers if key.startswith(starts)]


def split_key(key: str) -> tuple[str, float, str]:
    """What stands before `.t<time>`, the time, and whether it is the value or an error."""
    stem, _, rest = key.rpartition(".t")
    time, _, kind = rest.partition(".")
    return stem, float(time), {"": "value"}.get(kind, "se")


def close(found: float, expected: float) -> None:
    assert math.isfinite(found)
    assert found == pytest.approx(expected, rel=RELATIVE, abs=1e-12)


def load_basics(name: str) -> FollowUp:
    df = pd.read_csv(shared("surv_basics") / f"{name}.csv")
    if name == "lung":
        return FollowUp.from_frame(df.assign(event=df["status"] - 1), exit="time", event="event", stratum="sex")
    return FollowUp.from_frame(df, exit="time", event="status", stratum="x")


def load_mgus(*, stratum: str | None = None, cluster: str | None = None, weighted: str | None = None) -> FollowUp:
    df = pd.read_csv(shared("cr_mgus2") / "data.csv")
    first = df["pstat"] == 1
    df["time"] = np.where(first, df["ptime"], df["futime"])
    df["event"] = np.where(first, 1, 2 * df["death"])
    df["weight"] = 0.5 + (df["dxyr"] % 5) / 4
    return FollowUp.from_frame(
        df, exit="time", event="event", causes=CAUSES, stratum=stratum, cluster=cluster, weights=weighted
    )


def load_readmission(stratum: str | None) -> FollowUp:
    df = pd.read_csv(shared("rec_readmission") / "data.csv")
    df["what"] = np.where(df["event"] == 1, 1, 2 * df["death"])
    return FollowUp.from_frame(
        df,
        entry="t.start",
        exit="t.stop",
        event="what",
        person="id",
        causes=("readmission", "death"),
        stratum=stratum,
    )


def load_bladder(**columns: str) -> FollowUp:
    df = pd.read_csv(shared("rec_bladder") / "bladder2.csv")
    df = df.assign(weight=0.5 + (df["number"] % 3) / 2, centre=df["id"] // 3)
    return FollowUp.from_frame(df, entry="start", exit="stop", event="event", person="id", stratum="rx", **columns)


def stratum_of(label: str) -> object:
    """A label in a key as the data have it: sex1 is 1, and so on."""
    number = label.removeprefix("sex").removeprefix("rx")
    return int(number) if number.isdigit() else label


@pytest.mark.parametrize("key", keys(BASICS, "aml.km", "lung.km"))
def test_kaplan_meier(key):
    """survfit, Greenwood."""
    stem, time, kind = split_key(key)
    data, _, label = stem.split(".")
    curve = pick_curve(compute_survival(load_basics(data)), stratum=stratum_of(label))
    close(compute_curve_at(curve, [time])[kind].item(), BASICS[key])


@pytest.mark.parametrize("key", keys(BASICS, "aml.median", "lung.median"))
def test_median(key):
    data, _, label = key.split(".")
    curve = pick_curve(compute_survival(load_basics(data)), stratum=stratum_of(label))
    close(compute_quantile(curve)[0], BASICS[key])


@pytest.mark.parametrize("key", keys(BASICS, "lung.rmst365"))
def test_restricted_mean(key):
    """summary(survfit, rmean=365)."""
    label, kind = key.split(".")[2], "se" if key.endswith(".se") else "value"
    means = compute_restricted_means(load_basics("lung"), options=RestrictedMeanOptions(365))
    found = next(m for m in means if m.state == FREE and m.stratum == stratum_of(label))
    close(getattr(found, kind), BASICS[key])


@pytest.mark.parametrize("key", keys(MGUS, "aj."))
def test_aalen_johansen(key):
    """survfit of a multi-state Surv: value, and infinitesimal-jackknife error."""
    stem, time, kind = split_key(key)
    _, label, cause = stem.split(".")
    curves = compute_cumulative_incidence(load_mgus(stratum=None if label == "all" else "sex"))
    curve = pick_curve(curves, stratum=None if label == "all" else label, cause=cause)
    close(compute_curve_at(curve, [time])[kind].item(), MGUS[key])


@pytest.mark.parametrize("key", keys(MGUS, "rmst240."))
def test_restricted_mean_lost(key):
    """summary(survfit, rmean=240), months or years; R's file has no errors of these."""
    _, label, state = key.removesuffix(".years").split(".")
    means = compute_restricted_means(
        load_mgus(stratum=None if label == "all" else "sex"), options=RestrictedMeanOptions(240)
    )
    wanted = (None if label == "all" else label, FREE if state == "(s0)" else state)
    found = next(m for m in means if (m.stratum, m.state) == wanted)
    close(found.value / (12 if key.endswith(".years") else 1), MGUS[key])


@pytest.mark.parametrize("key", keys(MGUS, "one_minus_km."))
def test_deaths_as_censoring(key):
    """The naive 1 - KM, which R's file shows for its bias."""
    curve = compute_survival(load_mgus(), options=SurvivalOptions(cause=1))[0]
    close(1 - compute_curve_at(curve, [split_key(key)[1]])["value"].item(), MGUS[key])


@pytest.mark.parametrize("key", keys(MGUS, "cuminc_cmprsk."))
def test_cmprsk(key):
    """cmprsk's cuminc: value, and Aalen's variance with its correction for ties (`errors="gray"`)."""
    stem, time, kind = split_key(key)
    label, code = stem.removeprefix("cuminc_cmprsk.").split("_")
    curves = compute_cumulative_incidence(load_mgus(stratum="sex"), options=IncidenceOptions(errors="gray"))
    found = compute_curve_at(pick_curve(curves, stratum=label, cause=CAUSES[int(code) - 1]), [time])[kind].item()
    close(found**2 if kind == "se" else found, MGUS[key])


@pytest.mark.parametrize("key", [k for k in MGUS if k.startswith(("count.", "n")) and not k.startswith("n_pcm")])
def test_counts_of_mgus(key):
    follow_up = load_mgus()
    code = {"n": None, "count.censor": 0, "count.pcm": 1, "count.death": 2}[key]
    assert (len(follow_up) if code is None else follow_up.n_events(code)) == MGUS[key]


@pytest.mark.parametrize("key", keys(READMISSION, "mcf."))
def test_mean_count(key):
    """Nelson-Aalen, Ghosh and Lin, and the survival in it, overall and by sex and stage."""
    stem, time, _ = split_key(key)
    _, group, what = stem.split(".")
    column = {"all": None, "Male": "sex", "Female": "sex"}.get(group, "dukes")
    follow_up = load_readmission(column)
    curves = {
        "nelson_aalen": lambda: compute_mean_count(follow_up, options=MeanCountOptions(terminal="none")),
        "ghosh_lin": lambda: compute_mean_count(follow_up),
        "survival_used": lambda: compute_survival(follow_up, options=SurvivalOptions(cause=2)),
    }[what]()
    curve = pick_curve(curves, stratum=None if column is None else group.removeprefix("dukes_"))
    close(compute_curve_at(curve, [time])["value"].item(), READMISSION[key])


@pytest.mark.parametrize("key", keys(READMISSION, "survfit_mcf."))
def test_mean_count_error(key):
    """survfit(Surv(start, stop, event) ~ sex, id = id): cumulative hazard and its jackknife error by person."""
    stem, time, kind = split_key(key)
    curves = compute_mean_count(load_readmission("sex"), options=MeanCountOptions(terminal="none"))
    curve = pick_curve(curves, stratum=stem.split(".")[1])
    close(compute_curve_at(curve, [time])[kind].item(), READMISSION[key])


@pytest.mark.parametrize("key", keys(READMISSION, "km_first_readmission."))
def test_first_readmission(key):
    stem, time, kind = split_key(key)
    df = pd.read_csv(shared("rec_readmission") / "data.csv").query("enum == 1")
    curves = compute_survival(FollowUp.from_frame(df, exit="t.stop", event="event", stratum="sex"))
    close(compute_curve_at(pick_curve(curves, stratum=stem.split(".")[1]), [time])[kind].item(), READMISSION[key])


@pytest.mark.parametrize("key", [k for k in READMISSION if k.startswith(("n_", "person_days", "rate_per"))])
def test_counts_of_readmission(key):
    follow_up = load_readmission("sex")
    label = key.rpartition(".")[2]
    if label in ("Male", "Female"):
        follow_up = follow_up.select(follow_up.stratum == follow_up.strata.index(label))
    days = (follow_up.exit - follow_up.entry).sum()
    found = {
        "n_rows": len(follow_up),
        "n_patients": follow_up.n_people,
        "n_readmissions": follow_up.n_events(1),
        "n_deaths": follow_up.n_events(2),
        "n_patients_with_readmission": len(np.unique(follow_up.person[follow_up.event == 1])),
        "person_days": days,
    }.get(key, 1000 * follow_up.n_events(1) / days)
    close(float(found), READMISSION[key])


@pytest.mark.parametrize("key", keys(BLADDER, "mcf."))
def test_mean_count_of_bladder(key):
    stem, time, kind = split_key(key)
    curve = pick_curve(compute_mean_count(load_bladder()), stratum=stratum_of(stem.split(".")[1]))
    close(compute_curve_at(curve, [time])[kind].item(), BLADDER[key])


@pytest.mark.parametrize("key", keys(BLADDER, "counts."))
def test_counts_of_bladder(key):
    follow_up = load_bladder()
    assert {"n_patients": follow_up.n_people, "n_events": follow_up.n_events()}[key[7:]] == BLADDER[key]


# Below: R survival 3.5-3 run on the same data by the code in each docstring, 12 digits or more, to 1e-9 relative.


def test_weighted_survival():
    """l$w <- 0.5 + (l$age %% 7)/3; survfit(Surv(time, status == 2) ~ sex, l, weights = w, robust = TRUE or
    cluster = inst), and ~ 1 with cluster = inst, at 100 and 365; rows with inst."""
    df = pd.read_csv(shared("surv_basics") / "lung.csv").dropna(subset="inst")
    df = df.assign(event=df["status"] - 1, weight=0.5 + (df["age"] % 7) / 3)
    one = {"exit": "time", "event": "event"}
    cases = [
        (
            {"weights": "weight", "stratum": "sex"},
            "value",
            [0.795249795250, 0.321292426289, 0.941566340870, 0.547165798784],
        ),
        (
            {"weights": "weight", "stratum": "sex"},
            "se",
            [0.0386999858105, 0.0467799351205, 0.0247789751013, 0.0635757976015],
        ),
        (
            {"weights": "weight", "stratum": "sex"},
            "lower",
            [0.722904199771, 0.241527276955, 0.894231694260, 0.435729433445],
        ),
        (
            {"weights": "weight", "stratum": "sex", "cluster": "inst"},
            "se",
            [0.0339952138568, 0.0416919397941, 0.0228229478987, 0.0675573218622],
        ),
        ({"cluster": "inst"}, "se", [0.0214270706223, 0.0300163188181]),
    ]
    for columns, what, expected in cases:
        curves = compute_survival(FollowUp.from_frame(df, **one, **columns))
        found = [v for c in curves for v in compute_curve_at(c, [100, 365])[what]]
        assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("interval", "lower", "upper", "quantiles"),
    [
        (
            "log",
            [0.987016717583, 0.347469893993, 0.020837297092],
            [1.0, 0.488950519085, 0.123396715703],
            [(170, 145, 197), (310, 284, 363), (550, 460, 654)],
        ),
        (
            "log-log",
            [0.969143507674, 0.341419460569, 0.017991252346],
            [0.999378279447, 0.481455177843, 0.109402674099],
            [(170, 144, 189), (310, 283, 361), (550, 457, 643)],
        ),
        (
            "plain",
            [0.98697955013994, 0.34178635528402, 0.00561180317372],
            [1.0, 0.4825814874515, 0.0958032652387],
            [(170, 145, 194), (310, 284, 363), (550, 457, 643)],
        ),
    ],
)
def test_intervals_and_quantiles(interval, lower, upper, quantiles):
    """survfit(Surv(time, status == 2) ~ 1, lung with inst, conf.type = ...) at 10, 365, 900; quantile(.25, .5, .75)."""
    df = pd.read_csv(shared("surv_basics") / "lung.csv").dropna(subset="inst")
    follow_up = FollowUp.from_frame(df.assign(event=df["status"] - 1), exit="time", event="event")
    curve = compute_survival(follow_up, options=SurvivalOptions(interval=interval))[0]
    found = compute_curve_at(curve, [10, 365, 900])
    assert found["lower"].tolist() == pytest.approx(lower, rel=1e-9)
    assert found["upper"].tolist() == pytest.approx(upper, rel=1e-9)
    assert [compute_quantile(curve, p) for p in (0.25, 0.5, 0.75)] == quantiles


def test_weighted_clustered_incidence():
    """m$w <- .5 + (m$dxyr %% 5)/4; f <- survfit(Surv(time, event) ~ sex, m, weights = w, influence = TRUE) at 120, 240.

    R ignores `cluster = dxyr` in multi-state curves: errors stay those of people. Summed by cluster, R's own influence
    values are sqrt(sum(rowsum(f$influence.pstate[[i]][, k, j] * w, dxyr)^2)): value, error, clustered error.
    """
    expected = {
        ("F", "pcm"): (
            [0.077249934032049, 0.109936989620812],
            [0.0119927234000930, 0.0163119309922651],
            [0.011322546991796, 0.017308647371068],
        ),
        ("F", "death"): (
            [0.469348969769280, 0.689373233878308],
            [0.0221114363785977, 0.0256974358946144],
            [0.016126070086878, 0.024051046507886],
        ),
        ("M", "pcm"): (
            [0.057932601273139, 0.101886496740038],
            [0.0096955965577927, 0.0142873769630891],
            [0.01078674133088, 0.014394563396952],
        ),
        ("M", "death"): (
            [0.573017930623591, 0.739863505186742],
            [0.0200235648545114, 0.0219857853348056],
            [0.014741198036737, 0.021005235213169],
        ),
    }
    people, years = (
        compute_cumulative_incidence(load_mgus(stratum="sex", cluster=c, weighted="weight")) for c in (None, "dxyr")
    )
    for (stratum, cause), (values, errors, clustered) in expected.items():
        found = compute_curve_at(pick_curve(people, stratum=stratum, cause=cause), [120, 240])
        assert found["value"].tolist() == pytest.approx(values, rel=1e-9)
        assert found["se"].tolist() == pytest.approx(errors, rel=1e-9)
        found = compute_curve_at(pick_curve(years, stratum=stratum, cause=cause), [120, 240])
        assert found["se"].tolist() == pytest.approx(clustered, rel=1e-9)


def test_errors_of_restricted_means():
    """summary(survfit(Surv(time, event) ~ 1, m, influence = TRUE), rmean = 240)$table: rmean and se(rmean), with
    weights .5 + (m$dxyr %% 5)/4 and without (errors to 7 digits).

    With weights R's table leaves them out of the squares, sqrt(sum(a^2)) = 2.36457 for time free of events. Here, as in
    R's own curves, sqrt(sum((w * a)^2)), with a the areas under R's f$influence.pstate up to 240.
    """
    options = RestrictedMeanOptions(240)
    weighted = compute_restricted_means(load_mgus(weighted="weight"), options=options)
    assert [m.value for m in weighted] == pytest.approx([110.8164594211573, 14.7200413287989, 114.4634992500438])
    expected = [2.4953298235974, 1.4299940911744, 2.6836681895222]
    assert [m.se for m in weighted] == pytest.approx(expected, rel=1e-9)
    plain = compute_restricted_means(load_mgus(), options=options)
    assert [m.se for m in plain] == pytest.approx([2.347829, 1.328832, 2.499649], rel=1e-6)


def test_late_entry_on_the_age_scale():
    """Surv(12 age, 12 age + time, event) ~ sex, weights = w, id = id, times of 0 made 0.5, at 900 months of age; and
    survfit(Surv(12 age, ..., event != "censor") ~ 1) of those over 50, Greenwood, at 800, 900, 1000."""
    df = pd.read_csv(shared("cr_mgus2") / "data.csv")
    first = df["pstat"] == 1
    time = np.where(first, df["ptime"], df["futime"])
    df = df.assign(begin=12.0 * df["age"], what=np.where(first, 1, 2 * df["death"]), w=0.5 + (df["dxyr"] % 5) / 4)
    df["end"] = df["begin"] + np.where(time == 0, 0.5, time)
    columns = {"entry": "begin", "exit": "end", "event": "what", "causes": CAUSES}
    curves = compute_cumulative_incidence(FollowUp.from_frame(df, weights="w", stratum="sex", **columns))
    found = [v for c in curves for v in compute_curve_at(c, [900])[["value", "se"]].to_numpy().ravel()]
    assert found == pytest.approx(
        [
            *[0.0382050234584, 0.0365322914484, 0.8384800154472, 0.1513311505343],
            *[0.1023456152292, 0.0493853995420, 0.7801158146493, 0.0687237580046],
        ],
        rel=1e-9,
    )
    alone = compute_survival(FollowUp.from_frame(df[df["age"] > 50], **columns))[0]
    assert alone.errors == "greenwood"
    assert compute_curve_at(alone, [800, 900, 1000])[["value", "se"]].to_numpy().T.ravel().tolist() == pytest.approx(
        [0.415304537659, 0.248953186901, 0.101830948647, 0.0577338406488, 0.0360212455325, 0.0155840051913], rel=1e-9
    )


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, [0.17588105272925, 0.35556173223413, 0.17208536321032, 0.38594126213553]),
        ({"cluster": "centre"}, [0.21807052601562, 0.40629861573647, 0.16762798090765, 0.41063185030855]),
    ],
)
def test_weighted_mean_count(columns, expected):
    """b$w <- .5 + (b$number %% 3)/2; survfit(Surv(start, stop, event) ~ rx, b, weights = w, id = id, and cluster =
    id %/% 3): std.chaz at 12 and 48."""
    curves = compute_mean_count(load_bladder(weights="weight", **columns))
    found = [compute_curve_at(c, [12, 48]) for c in curves]
    assert [v for f in found for v in f["se"]] == pytest.approx(expected, rel=1e-9)
    assert [v for f in found for v in f["value"]] == pytest.approx(
        [0.79304928932969, 2.04857865288806, 0.51826843772266, 1.65606942830883], rel=1e-9
    )
