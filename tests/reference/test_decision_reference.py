"""Net benefit against R's dcurves, and under censoring and competing causes against R's survfit.

* `dca_dcurves/reference.json`, the numbers of net benefit (positive: risk >= threshold, threshold 0 as 1e-10), and
  how many there are and how many have cancer. Tolerance 1e-8.
* `documented.json`: dcurves' own tests, to their digits.
* `df_surv` (dcurves' value for age is not reproduced by a Cox risk, says its README) and `df_case_control`: R's
  survival 3.5-3, `survfit` within those at or above the threshold, as in Giardiello et al. 2023, and rates by hand;
  made on the same files with R 4, written below with 15 digits. Tolerance 1e-8.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from evalkit.cohort.follow_up import FollowUp
from evalkit.risk.decision import NetBenefit, compute_net_benefit
from evalkit.risk.decision_time import compute_net_benefit_survival
from evalkit.risk.validate import fit_logistic
from tests.shared_data import reference, shared

NAME = "dca_dcurves"
BINARY = ("all", "cancerpredmarker", "famhistory", "age_as_probability", "interventions_avoided_per100", "standardised")
NUMBERS = {
    key: value for key, value in reference(NAME).items()
    if key in ("binary.n", "binary.prevalence") or key.split(".")[1] in BINARY
}  # fmt: skip
THRESHOLDS = (0.0, 0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)

# Horizon in years, threshold: net benefit by Kaplan-Meier, by Aalen-Johansen with death of other causes competing.
SURVIVAL = {
    (1.0, 0.0): (0.1472870676576566, 0.1415101597653802),
    (1.0, 0.05): (0.1081446649553533, 0.1026626173397976),
    (1.0, 0.1): (0.08390656262954022, 0.08007224980915895),
    (1.0, 0.2): (0.06314595737985543, 0.06043465843841019),
    (1.0, 0.3): (0.05440427774623055, 0.05349963960045963),
    (1.0, 0.5): (0.03132807469621118, 0.02968535103318541),
    (1.5, 0.0): (0.2201127546176395, 0.2059572319520704),
    (1.5, 0.05): (0.1876857747198407, 0.1722309078183148),
    (1.5, 0.1): (0.1610543789810986, 0.1470023893126197),
    (1.5, 0.2): (0.1236061851871767, 0.1148784599477387),
    (1.5, 0.3): (0.094044391480261, 0.09236249620245035),
    (1.5, 0.5): (0.0578320186740528, 0.05429615615546693),
}
# Threshold: net benefit of the marker and of treating all, at a prevalence of 0.15.
CASE_CONTROL = {
    0.05: (0.07417236272499431, 0.1052631578947368),
    0.1: (0.04531625781625782, 0.05555555555555555),
    0.2: (0.01673701298701299, -0.0625),
    0.35: (0.007052947052947057, -0.3076923076923077),
}


@cache
def binary() -> tuple[NetBenefit, pd.DataFrame]:
    data = pd.read_csv(shared(NAME) / "df_binary.csv")
    design = np.column_stack([np.ones(len(data)), data["age"]])
    fit = fit_logistic(design, data["cancer"].to_numpy(dtype=float), cluster=np.arange(len(data)))
    risks = {
        "cancerpredmarker": data["cancerpredmarker"].to_numpy(),
        "famhistory": data["famhistory"].to_numpy(),
        "age_as_probability": expit(design @ fit.coefficients),
    }
    return compute_net_benefit(risks, data["cancer"].to_numpy(), thresholds=THRESHOLDS), data


def found(key: str) -> float:
    """Our number for a key such as binary.standardised.cancerpredmarker.t0.1."""
    net_benefit, data = binary()
    if key in ("binary.n", "binary.prevalence"):
        return float(len(data) if key == "binary.n" else net_benefit.prevalence[0])
    name, threshold = key.removeprefix("binary.").rsplit(".t", 1)
    place = THRESHOLDS.index(float(threshold))
    kind, _, model = name.rpartition(".")
    values = {
        "": net_benefit.net_benefit,
        "interventions_avoided_per100": net_benefit.avoided_per_100,
        "standardised": net_benefit.standardised,
    }[kind]
    if model == "all":
        return float(net_benefit.treat_all[0, place])
    return float(values[0, net_benefit.models.index(model), place])


@pytest.mark.parametrize("key", NUMBERS)
def test_number_of_dcurves(key):
    assert found(key) == pytest.approx(NUMBERS[key], abs=1e-8, rel=0)


def published() -> list[tuple[str, float, int]]:
    if not NUMBERS:
        return []
    rows = json.loads((shared(NAME) / "documented.json").read_text())
    return [(row["estimand"], row["published"], row["digits"]) for row in rows]


@pytest.mark.parametrize(("key", "value", "digits"), published())
def test_published_number(key, value, digits):
    assert found(key) == pytest.approx(value, abs=0.5000001 * 10**-digits)


@cache
def survival(horizon: float, event: str) -> NetBenefit:
    data = pd.read_csv(shared(NAME) / "df_surv.csv")
    causes = ("diagnosed with cancer", "dead other causes") if event == "cancer_cr" else ("event",)
    data["cancer_cr"] = data["cancer_cr"].replace("censor", "censored")
    rows = FollowUp.from_frame(data, exit="ttcancer", event=event, causes=causes)
    thresholds = sorted({threshold for _, threshold in SURVIVAL})
    return compute_net_benefit_survival(
        data["cancerpredmarker"].to_numpy(), rows, horizon=horizon, thresholds=thresholds
    )


@pytest.mark.parametrize("event", ["cancer", "cancer_cr"])
@pytest.mark.parametrize(("horizon", "threshold"), SURVIVAL)
def test_net_benefit_of_survfit(horizon, threshold, event):
    net_benefit = survival(horizon, event)
    place = net_benefit.thresholds.tolist().index(threshold)
    expected = SURVIVAL[horizon, threshold][event == "cancer_cr"]
    assert net_benefit.net_benefit[0, 0, place] == pytest.approx(expected, abs=1e-8, rel=0)


@pytest.mark.parametrize("threshold", CASE_CONTROL)
def test_cases_and_controls_weighed_back_to_a_prevalence(threshold):
    data = pd.read_csv(shared(NAME) / "df_case_control.csv")
    net_benefit = compute_net_benefit(
        data["cancerpredmarker"].to_numpy(), data["casecontrol"].to_numpy(), thresholds=[threshold], prevalence=0.15
    )
    marker, everyone = CASE_CONTROL[threshold]
    assert net_benefit.net_benefit[0, 0, 0] == pytest.approx(marker, abs=1e-8, rel=0)
    assert net_benefit.treat_all[0, 0] == pytest.approx(everyone, abs=1e-8, rel=0)
