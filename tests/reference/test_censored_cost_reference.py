"""Mean cost under censoring against R's ccostr and Stata's hcost.

* `cost_censored/reference.json`: R's ccostr on its four people of the README and on hcost (160 people). Tolerance 1e-6
  relative, 1e-9 absolute. ccostr takes records as spent evenly from start to stop, people who die on a day of censoring
  as still at risk on it, and counts as nothing what people would cost after the last was lost (the four people); its
  limits are value -/+ 1.96 errors, so they are ours at the level that 1.96 has. `n`, `n_complete`, `AS`, `CC`, `CC.se`,
  `BT`, `BT_hajek` of the four people were made in R without ccostr, deaths before censorings.
* `documented.json`: ccostr's README, to its digits.
* Stata's hcost (Chen, Rolfes and Zhao 2015) on the same people, to the 2 digits that ccostr's own
  tests hold them in (tests/testthat/test-hcost_similarity.R); its records include their last day.
"""

from __future__ import annotations

import json
from functools import cache

import pandas as pd
import pytest
from scipy import stats

from evalkit.cohort.cost_history import CostHistory, Days
from evalkit.estimators.costs.censored import CensoredMean, compute_censored_means, compute_mean_survival
from evalkit.estimators.costs.censored_means import CensoredCostOptions
from evalkit.estimators.costs.censored_weights import CensoringOptions
from tests.shared_data import reference, shared

NUMBERS = reference("cost_censored")
ESTIMATORS = {"AS": "available_sample", "CC": "complete_case", "BT": "bang_tsiatis", "ZT": "zhao_tian"}
TOGETHER = CensoringOptions(ties="together")
LEVEL = float(2 * stats.norm.cdf(1.96) - 1)
HORIZONS = {"toy": 1000.0, "hcost_full": 2082.0, "hcost_L1461": 1461.0}
LAST_FOLLOWED = {"toy": 903.0}


@cache
def read(name: str, days: Days = "half_open") -> CostHistory:
    file = "toy_readme.csv" if name == "toy" else "hcost.csv"
    records = pd.read_csv(shared("cost_censored") / file)
    if ".trt" in name:
        records = records[records["trt"] == int(name[-1])]
    people = records.groupby("id", as_index=False).first()
    return CostHistory.from_frames(
        people, records, person="id", follow_up="surv", complete="delta", start="start", stop="stop", cost="cost",
        days=days,
    )  # fmt: skip


@cache
def fit(name: str, estimator: str) -> CensoredMean:
    options = CensoredCostOptions(
        HORIZONS[name.split(".")[0]], ESTIMATORS[estimator], censoring=TOGETHER, errors="published",
        unfollowed="nothing",
    )  # fmt: skip
    return compute_censored_means(read(name), options=options, level=LEVEL)[0]


def found(key: str) -> float:
    """Our number for a key such as hcost_L1461.trt0.ccostr.ZT.SE."""
    name, what = key.split(".ccostr.")
    if what == "mean_survival":
        horizon = LAST_FOLLOWED.get(name, HORIZONS[name.split(".")[0]])
        return compute_mean_survival(read(name), horizon_days=horizon)[0].value
    estimator, number = what.split(".", 1)
    mean = fit(name, estimator)
    return {
        "Estimate": mean.value_gbp, "Variance": mean.se_gbp**2, "SE": mean.se_gbp, "0.95LCL": mean.lower_gbp,
        "0.95UCL": mean.upper_gbp,
    }[number]  # fmt: skip


@pytest.mark.parametrize("key", [key for key in NUMBERS if ".ccostr." in key])
def test_number_of_ccostr(key):
    assert found(key) == pytest.approx(NUMBERS[key], rel=1e-6, abs=1e-9)


def own(key: str) -> float:
    """The number of the four people made without ccostr: deaths before censorings."""
    history = read("toy")
    options = {"censoring": CensoringOptions(), "unfollowed": "nothing"}
    kind = {"AS": "available_sample", "CC": "complete_case", "CC.se": "complete_case"}.get(key, "bang_tsiatis")
    if key == "mean_survival_restricted":
        return compute_mean_survival(history, horizon_days=LAST_FOLLOWED["toy"])[0].value
    if key == "BT_hajek":
        options["divide_by"] = "weights"
    else:
        options["errors"] = "published"
    mean = compute_censored_means(history, options=CensoredCostOptions(1000.0, kind, **options))[0]
    return {"n": mean.n_people, "n_complete": mean.n_complete, "CC.se": mean.se_gbp}.get(key, mean.value_gbp)


@pytest.mark.parametrize("key", [key for key in NUMBERS if ".ccostr." not in key])
def test_number_made_without_ccostr(key):
    if key == "hcost.n_rows":
        assert len(read("hcost_full").cost_gbp) == NUMBERS[key]
    else:
        assert own(key.removeprefix("toy.")) == pytest.approx(NUMBERS[key], rel=1e-6)


@pytest.mark.parametrize("place", range(8))
def test_number_of_the_readme(place):
    published = json.loads((shared("cost_censored") / "documented.json").read_text())
    assert len(published) == 8
    row = published[place]
    assert round(found(row["estimand"]), row["digits"]) == pytest.approx(row["published"], abs=1e-9)


STATA = {
    (1461.0, "BT"): (86175.16, 7182.89), (1461.0, "ZT"): (80134.84, 4870.97),
    (2000.0, "BT"): (83953.99, 15734.94), (2000.0, "ZT"): (92439.34, 16073.06),
    (2082.0, "BT"): (83953.99, 15734.94), (2082.0, "ZT"): (92439.34, 16073.06),
    (1000.0, "BT"): (68236.23, 4410.38), (1000.0, "ZT"): (66683.45, 3728.87),
}  # fmt: skip


@pytest.mark.parametrize(("horizon", "estimator"), STATA)
def test_number_of_stata_hcost(horizon, estimator):
    options = CensoredCostOptions(horizon, ESTIMATORS[estimator], censoring=TOGETHER, errors="published")
    mean = compute_censored_means(read("hcost_full", "inclusive"), options=options)[0]
    assert (round(mean.value_gbp, 2), round(mean.se_gbp, 2)) == STATA[horizon, estimator]


# The four people of ccostr's README (MIT licence), for a checkout without ../shared: value and error, 4 digits.
README_PEOPLE = ([343, 903, 445, 652], [0, 0, 1, 1])
README_RECORDS = [
    (0, 1, 1, 550), (0, 30, 82, 1949), (0, 88, 88, 45), (1, 18, 198, 4245), (2, 1, 5, 23), (2, 67, 88, 567),
    (3, 43, 44, 300),
]  # fmt: skip


@pytest.mark.parametrize(
    ("estimator", "value", "se"),
    [("AS", 1919.75, 921.4256), ("CC", 445, 145), ("BT", 296.6667, 116.6971), ("ZT", 504.75, 532.6657)],
)
def test_number_of_the_readme_by_hand(estimator, value, se):
    people = pd.DataFrame({"id": range(4), "surv": README_PEOPLE[0], "delta": README_PEOPLE[1]})
    records = pd.DataFrame(README_RECORDS, columns=["id", "start", "stop", "cost"])
    history = CostHistory.from_frames(
        people, records, person="id", follow_up="surv", complete="delta", start="start", stop="stop", cost="cost"
    )
    options = CensoredCostOptions(
        1000.0, ESTIMATORS[estimator], censoring=TOGETHER, errors="published", unfollowed="nothing"
    )
    mean = compute_censored_means(history, options=options)[0]
    assert (mean.value_gbp, mean.se_gbp) == pytest.approx((value, se), abs=6e-5)
