"""Risk models in a release as both reports read them: names, one measure with its range, and what each says.

Each reading follows from the ends of an interval alone: what its whole width says is said, what it leaves open is
called open.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from evalkit.report.phrases import full_stop, listed, starts_with_capital, with_interval
from evalkit.report.value_facts import Amount, read_amount

if TYPE_CHECKING:
    from evalkit.core.sections import RiskModel
    from evalkit.disclose.release import Release

MEASURES = {
    "auroc": "AUROC", "auprc": "AUPRC", "brier": "Brier score", "scaled_brier": "Scaled Brier score",
    "log_loss": "Log loss", "observed_expected": "Observed / expected",
    "calibration_intercept": "Calibration intercept", "calibration_slope": "Calibration slope",
    "ici": "ICI", "e50": "E50", "e90": "E90", "emax": "Emax",
    "sensitivity": "Sensitivity", "false_positive_rate": "False positive rate", "ppv": "Predictive value",
    "false_negative_rate": "False negative rate", "npv": "Negative predictive value",
    "flagged_per_100": "Flagged, of 100", "discharges": "Discharges",
}  # fmt: skip
MODELS = {
    "prior_admissions": "Earlier admissions alone", "logistic": "Penalised logistic regression",
    "gradient_boosting": "Gradient boosting", "competing_risk": "Competing-risk regression",
}  # fmt: skip
CHARACTERISTICS = {
    "sex": "sex", "ethnic_group": "ethnic group", "age_band": "age", "deprivation": "deprivation", "area": "area",
    "dual_diagnosis": "dual diagnosis",
}  # fmt: skip
# What the sample can bear, as the unit or the label of a verdict.
VERDICTS = {"develop": "large enough to develop a model", "recalibrate": "large enough only to recalibrate one",
            "refuse": "too small for either"}  # fmt: skip
METHODS = {
    "none": "as it was", "original": "as it was", "intercept": "new intercept", "slope": "new intercept and slope",
    "intercept_slope": "new intercept and slope", "intercept_and_slope": "new intercept and slope",
    "refit": "all coefficients anew", "re_estimate": "all coefficients anew",
}  # fmt: skip
Order = Literal["none", "weak", "fair", "good", "reversed", "unknown"]
_ORDERS: tuple[tuple[float, Order], ...] = ((0.8, "good"), (0.7, "fair"), (0.5, "weak"))
_ORDER_WORDS = {"weak": "weak", "fair": "fair", "good": "good"}
State = Literal["absent", "refused", "withheld", "shown"]


# ---- names ---------------------------------------------------------------------------------------


def plan(release: Release) -> RiskModel:
    """The protocol's section of risk models, which the caller has seen to be there."""
    return release.protocol.risk_model


def told_model(release: Release) -> str:
    """The model that is told of where only one is: the planned primary, else the first that has a number."""
    asked = plan(release)
    rows = release.table("risk_performance")
    numbered = {split_key(release, str(r)) for r in rows.loc[rows["value"].notna(), "row"]}
    models = (asked.primary, *asked.models)
    return next((m for m in models if (asked.horizon_days, m) in numbered), asked.primary)


def split_key(release: Release, row: str) -> tuple[int, str]:
    """Horizon (days) and model of a row `90|logistic`; a row without a horizon is of the main one."""
    first, _, rest = row.partition("|")
    return (int(first), rest) if rest and first.isdigit() else (plan(release).horizon_days, row)


def main_key(release: Release, table: str = "risk_performance", *, model: str = "") -> str:
    """The row of the model that is told of (or of `model`) at the main horizon, as the table spells it."""
    model = model or told_model(release)
    full = f"{plan(release).horizon_days}|{model}"
    return model if model in set(release.table(table)["row"]) else full


def model_words(release: Release, model: str, *, table: str = "risk_performance") -> str:
    """A model in words: the label of its rows, else its name."""
    rows = release.table(table)
    own = rows[rows["row"].str.split("|").str[-1] == model]
    labels = [str(x) for x in own["label"] if x and str(x) not in (model, *own["row"])]
    return starts_with_capital(labels[0]) if labels else MODELS.get(model, starts_with_capital(model.replace("_", " ")))


def models_in(release: Release, table: str = "risk_performance") -> list[str]:
    """Models that a table has rows of at the main horizon, in its order."""
    keys = [split_key(release, str(row)) for row in release.table(table)["row"]]
    return list(dict.fromkeys(model for h, model in keys if h == plan(release).horizon_days))


def characteristic_words(name: str) -> str:
    return CHARACTERISTICS.get(name, name.replace("_", " "))


# ---- one measure ---------------------------------------------------------------------------------


def read_measure(release: Release, measure: str, *, model: str = "", table: str = "risk_performance") -> Amount:
    """A measure of the model that is told of, or of `model`, at the main horizon."""
    return read_amount(release, table, main_key(release, table, model=model), measure)


def state_of(release: Release) -> State:
    """Whether the primary model has been validated in this release, was refused, is withheld, or is not there."""
    amount = read_measure(release, "auroc")
    if amount.has_number:
        return "shown"
    if amount.status == "suppressed":
        return "withheld"
    refused = release.table("risk_performance")["status"].isin(["not_estimable", "refused"])
    return "refused" if refused.any() else "absent"


def refusal_of(release: Release) -> str:
    """Why no model was validated, as the analysis gave it; "" where it gave no reason."""
    rows = release.table("risk_performance")
    return next((str(r) for r in rows.loc[rows["value"].isna(), "reason"] if r), "")


def order_of(auroc: Amount) -> tuple[Order, bool]:
    """How well risks put people in order, by the value, and whether the whole interval says the same.

    Bands of 0.5, 0.7 and 0.8 are a habit of the field and not a standard.
    """
    if not auroc.has_number:
        return "unknown", False
    if not auroc.has_range or auroc.lower <= 0.5 <= auroc.upper:
        return "none", False
    if auroc.upper < 0.5:
        return "reversed", True
    bands = [next(word for least, word in _ORDERS if x >= least) for x in (auroc.value, auroc.lower, auroc.upper)]
    return bands[0], len(set(bands)) == 1


def order_sentence(auroc: Amount) -> str:
    """Discrimination for referees."""
    order, sure = order_of(auroc)
    if order == "unknown":
        return "Discrimination is not known."
    told = f"AUROC {with_interval(auroc.value, auroc.lower, auroc.upper)}"
    if order == "none":
        return f"{told}: that it orders people better than chance cannot be told."
    if order == "reversed":
        return f"{told}: it orders people worse than chance."
    if sure:
        return f"{told}: discrimination is {_ORDER_WORDS[order]}."
    ends = [next(_ORDER_WORDS[word] for least, word in _ORDERS if x >= least) for x in (auroc.lower, auroc.upper)]
    return f"{told}: better than chance; the interval runs from {ends[0]} to {ends[1]}."


def side_of(amount: Amount, null: float) -> Literal["below", "above", "open", "unknown"]:
    """On which side of `null` the whole interval lies."""
    if not (amount.has_number and amount.has_range):
        return "unknown"
    return "below" if amount.upper < null else "above" if amount.lower > null else "open"


def level_sentence(ratio: Amount) -> str:
    """Observed over expected for referees."""
    if not ratio.has_number:
        return "Whether risks are right on average is not known."
    told = f"Observed over expected {with_interval(ratio.value, ratio.lower, ratio.upper, 'ratio')}"
    return told + {
        "below": ": risks are too high on average.", "above": ": risks are too low on average.",
        "open": ": the interval holds 1, so risks may be right on average.",
        "unknown": ": without an interval it cannot be judged.",
    }[side_of(ratio, 1.0)]  # fmt: skip


def slope_sentence(slope: Amount) -> str:
    if not slope.has_number:
        return "The calibration slope is not known."
    told = f"Calibration slope {with_interval(slope.value, slope.lower, slope.upper, 'ratio')}"
    return told + {
        "below": ": high risks are too high and low ones too low.",
        "above": ": high risks are too low and low ones too high.",
        "open": ": the interval holds 1, so no over-fitting is shown, and none is ruled out.",
        "unknown": ": without an interval it cannot be judged.",
    }[side_of(slope, 1.0)]  # fmt: skip


def skill_sentence(skill: Amount) -> str:
    if not skill.has_number:
        return "The scaled Brier score is not known."
    told = f"Scaled Brier score {with_interval(skill.value, skill.lower, skill.upper)}"
    return told + {
        "below": ": further from what happened than giving everybody the mean risk.",
        "above": ": closer to what happened than giving everybody the mean risk.",
        "open": ": no closer than giving everybody the mean risk, as far as the interval can tell.",
        "unknown": ": without an interval it cannot be judged.",
    }[side_of(skill, 0.0)]  # fmt: skip


def performance_sentences(release: Release, model: str) -> str:
    """What the measures of one model say together."""
    found = {m: read_measure(release, m, model=model)
             for m in ("auroc", "observed_expected", "calibration_slope", "scaled_brier")}  # fmt: skip
    parts = [order_sentence(found["auroc"])]
    for name, words in (("observed_expected", level_sentence), ("calibration_slope", slope_sentence),
                        ("scaled_brier", skill_sentence)):  # fmt: skip
        parts += [words(found[name])] if found[name].has_number else []
    return " ".join(parts)


RULE = "prior_admissions"
Beside = Literal["better", "worse", "mixed", "alike", "own", "unknown"]


def beside_rule(release: Release) -> Beside:
    """The model that is told of beside the rule of earlier admissions alone.

    By AUROC and by net benefit at each threshold: "better" where an interval of the model lies wholly above the
    rule's and none below, "alike" where all that both have overlap. Asking intervals not to meet asks much of two
    models of the same people, so that "alike" is not equal.
    """
    model = told_model(release)
    if model == RULE:
        return "own"
    auroc = _side_by_side(*(read_measure(release, "auroc", model=m) for m in (model, RULE)))
    sides = {auroc, *_benefit_sides(release, model).values()}
    if auroc == "unknown":
        return "unknown"
    if {"above", "below"} <= sides:
        return "mixed"
    return "better" if "above" in sides else "worse" if "below" in sides else "alike"


def _benefit_sides(release: Release, model: str) -> dict[float, str]:
    """At each threshold that both have, on which side of the rule's net benefit the model's lies."""
    rows = dict.fromkeys(str(r) for r in release.table("risk_net_benefit")["row"])
    at = [r.rpartition("|")[2] for r in rows if r.rpartition("|")[0] == model]
    pairs = {t: [read_amount(release, "risk_net_benefit", f"{m}|{t}", "net_benefit") for m in (model, RULE)]
             for t in at}  # fmt: skip
    return {float(t): side for t, pair in pairs.items() if (side := _side_by_side(*pair)) != "unknown"}


def _side_by_side(own: Amount, rule: Amount) -> Literal["below", "above", "open", "unknown"]:
    if not (own.has_number and own.has_range and rule.has_number and rule.has_range):
        return "unknown"
    return "above" if own.lower > rule.upper else "below" if own.upper < rule.lower else "open"


def beats_rule(release: Release) -> str:
    """The primary model beside the rule of one variable, by their intervals; empty where there are not both."""
    found = beside_rule(release)
    if found in ("own", "unknown"):
        return ""
    rule = read_measure(release, "auroc", model=RULE)
    told = f"The rule of earlier admissions alone has AUROC {with_interval(rule.value, rule.lower, rule.upper)}"
    sides = _benefit_sides(release, told_model(release))
    apart = [f"{t:g}" for t, side in sorted(sides.items()) if side != "open"]
    benefit = "" if not sides else (
        f"; by net benefit they do not meet at {listed(apart)}" if apart
        else f"; by net benefit they meet at all of {len(sides)} thresholds")  # fmt: skip
    said = {
        "better": "where intervals do not meet, the model does better",
        "worse": "where intervals do not meet, **the rule does better**",
        "mixed": "each does better somewhere",
        "alike": "that the model is better than the rule is not shown",
    }[found]
    side = _side_by_side(read_measure(release, "auroc"), rule)
    return f"{told}; the intervals {'meet' if side == 'open' else 'do not meet'}{benefit}: {said}."


# ---- use at a threshold --------------------------------------------------------------------------

Use = Literal["helps", "harms", "open", "unknown"]


def uses(release: Release, model: str, *, table: str = "risk_net_benefit") -> dict[float, Use]:
    """At each threshold, whether acting on the model does better than acting for all and for nobody.

    "helps" asks that both intervals lie above 0; one that lies below 0 "harms".
    """
    out: dict[float, Use] = {}
    for row in dict.fromkeys(str(r) for r in release.table(table)["row"]):
        name, _, at = row.rpartition("|")
        if name != model:
            continue
        sides = [side_of(read_amount(release, table, row, c), 0.0) for c in ("net_benefit", "avoided_per_100")]
        if "below" in sides:
            out[float(at)] = "harms"
        elif "unknown" in sides:
            out[float(at)] = "unknown"
        else:
            out[float(at)] = "helps" if sides == ["above", "above"] else "open"
    return out


def use_sentence(release: Release, model: str) -> str:
    """At which thresholds the decision curve speaks for the model."""
    found = uses(release, model)
    if not found or set(found.values()) == {"unknown"}:
        return "Whether acting on it would do good is not known."
    parts = []
    for use, words in (("helps", "better than acting for all and for nobody at {}"),
                       ("harms", "**worse than acting for all or for nobody** at {}"),
                       ("open", "not to be told from acting for all or for nobody at {}"),
                       ("unknown", "without a number at {}")):  # fmt: skip
        at = [f"{t:g}" for t, u in sorted(found.items()) if u == use]
        parts += [words.format(listed(at))] if at else []
    return f"By threshold, acting on it is {'; '.join(parts)}."


# ---- small help ----------------------------------------------------------------------------------


def told(amount: Amount, unit: str = "") -> str:
    """A number with its interval, or why there is none, for referees."""
    if amount.has_number:
        return with_interval(amount.value, amount.lower, amount.upper, unit)
    return {"absent": "not in this release", "suppressed": "not released"}.get(amount.status, "not estimable")


def share_words(share: float) -> str:
    return f"{100 * share:.0f}%" if math.isfinite(share) else "not available"


def verdicts(release: Release) -> list[tuple[str, str, str]]:
    """Who, verdict and reason of `risk_size` at the main horizon: `logistic`, `service` …"""
    rows = release.table("risk_size")
    out = []
    for row in rows[rows["column"] == "verdict"].itertuples():
        h, rest = split_key(release, str(row.row))
        if h == plan(release).horizon_days:
            verdict = str(row.unit if row.unit in VERDICTS else row.label)
            out.append((rest.split("|")[0], verdict, str(row.reason)))
    return out


def read_checks(release: Release) -> list[tuple[str, str, str, str]]:
    """Checks of the risk models, those that found the same together: of what, which check, result and finding."""
    rows = release.table("checks.risk")
    found: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for r in rows.itertuples():
        whom, days = _checked_words(release, str(r.row))
        found.setdefault((str(r.column), str(r.unit), str(r.reason)), {}).setdefault(whom, []).append(days)
    return [(_together(whom), starts_with_capital(check.replace("_", " ")), result, reason)
            for (check, result, reason), whom in found.items()]  # fmt: skip


def _checked_words(release: Release, row: str) -> tuple[str, str]:
    """`90|logistic in time` as `Logistic regression in time` and `90`."""
    key, _, part = row.partition(" ")
    days, _, model = key.rpartition("|")
    if model not in plan(release).models:
        return starts_with_capital(row.replace("_", " ")), ""
    return " ".join(x for x in (model_words(release, model), part) if x), days


def _together(whom: dict[str, list[str]]) -> str:
    named = [f"{name} ({listed(days)} days)" if any(days) else name for name, days in whom.items()]
    return "; ".join(named)


def overlap_sentence(release: Release) -> str:
    """How many people are in both parts, and what validation then means; "" where that is not released."""
    rows = release.table("checks.risk")
    found = rows[(rows["row"] == "sample") & (rows["column"] == "people_in_both_parts") & (rows["status"] == "shown")]
    if not len(found):
        return ""
    return f"{full_stop(str(found['reason'].iloc[0]))} This is validation in time, not in new people."


def expectation_sentence(release: Release) -> str:
    """That the sample was judged for a better model than came of it; "" where it was not."""
    expected, reached = plan(release).expected_auroc, read_measure(release, "auroc")
    if not reached.has_number or reached.value >= expected:
        return ""
    return (f"The sample was judged for an AUROC of {expected:g}; {reached.value:.2f} was reached on later discharges, "
            "for which more would be needed.")  # fmt: skip
