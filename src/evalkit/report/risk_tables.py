"""Tables of risk models for referees: every cell is text, and what is missing says why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report import facts
from evalkit.report.phrases import full_stop, starts_with_capital
from evalkit.report.risk_words import (
    MEASURES,
    METHODS,
    VERDICTS,
    characteristic_words,
    level_words,
    model_words,
    plan,
    share_words,
    split_key,
    told,
    told_model,
)
from evalkit.report.tables import shown
from evalkit.report.value_facts import Amount, read_amount

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

Words = Callable[[pd.Series], list[str]]
THRESHOLD_COLUMNS = {
    "flagged_per_100": "Pointed at, of 100", "came_back_of_100_flagged": "Came back, of 100 pointed at",
    "found_of_100": "Found, of 100 who came back", "alarms_per_found": "False alarms for each found",
}  # fmt: skip
GROUP_THRESHOLD_COLUMNS = {
    "flagged_per_100": "Pointed at, of 100", "sensitivity": "Sensitivity", "false_positive_rate": "False positive rate",
    "false_negative_rate": "False negative rate", "ppv": "Predictive value",
}  # fmt: skip
OVERALL = ("auroc", "auprc", "brier", "scaled_brier", "log_loss")
CALIBRATION = ("observed_expected", "calibration_intercept", "calibration_slope", "ici", "e50", "e90", "emax")
_PARTS = {"apparent": "Apparent", "optimism": "Optimism", "corrected": "Corrected"}
_CORRECTED = ("auroc", "scaled_brier", "observed_expected", "calibration_slope", "ici")


_DECIMALS = dict.fromkeys(("flagged_per_100", "came_back_of_100_flagged", "found_of_100", "alarms_per_found",
                           "avoided_per_100"), 1)  # fmt: skip
_DECIMALS |= dict.fromkeys(("brier", "scaled_brier", "log_loss", "ici", "e50", "e90", "emax", "net_benefit"), 3)


def cell_text(row: pd.Series, column: str, *, threshold: int) -> str:
    """A number with its interval at the decimals of its column, or why there is none."""
    ends = [float(row[c]) for c in ("value", "lower", "upper")]
    if row["status"] in ("not_estimable", "refused"):  # why is told once, beneath the tables
        return "not estimable"
    if row["status"] != "shown" or not math.isfinite(ends[0]) or column not in _DECIMALS:
        return shown(row, threshold=threshold)
    return fixed(*ends, _DECIMALS[column])


def fixed(value: float, lower: float, upper: float, decimals: int) -> str:
    """`10.0 (8.4 to 11.6)`: all at the same decimals."""
    text = [f"{x:.{decimals}f}".replace("-", "−") for x in (value, lower, upper)]
    return f"{text[0]} ({text[1]} to {text[2]})" if math.isfinite(lower + upper) else text[0]


def grid(release: Release, table: str, *, heads: Sequence[str], words: Words,
         columns: Mapping[str, str]) -> pd.DataFrame:  # fmt: skip
    """A table of the release as text, one line a row: `heads` name what `words` says of its first number.

    Only those of `columns` (column: its head) that the release has are there.
    """
    rows = release.table(table)
    limit = facts.threshold(release)
    names = {c: head for c, head in columns.items() if c in set(rows["column"])}
    out = []
    for row in dict.fromkeys(rows["row"].astype(str)):
        own = rows[rows["row"] == row].drop_duplicates("column").set_index("column")
        first = own.iloc[0]
        cells = [cell_text(own.loc[c], c, threshold=limit) if c in own.index else "" for c in names]
        if any(cells):
            out.append([*words(first), *cells])
    return pd.DataFrame(out, columns=[*heads, *names.values()])


def sample_table(release: Release) -> pd.DataFrame:
    """Discharges, returns and deaths of development and validation, by horizon."""

    def words(first: pd.Series) -> list[str]:
        h, part = split_key(release, first["row"])
        return [starts_with_capital(part), f"{h} days"]

    return grid(release, "risk_sample", heads=("Sample", "Horizon"), words=words,
                columns={"discharges": "Discharges", "readmitted": "Readmitted", "died": "Died first"})  # fmt: skip


def size_table(release: Release) -> pd.DataFrame:
    """What each criterion of sample size asks for, and what there is."""

    def words(first: pd.Series) -> list[str]:
        h, rest = split_key(release, first["row"])
        whom, _, criterion = rest.partition("|")
        name = "Validation" if whom == "validation" else f"Development: {model_words(release, whom)}"
        return [name, f"{h} days", _own_label(first) or criterion.replace("_", " ")]

    return grid(release, "risk_size", heads=("For", "Horizon", "Criterion"), words=words,
                columns={"needed": "Discharges needed", "have": "There are"})  # fmt: skip


def verdict_table(release: Release) -> pd.DataFrame:
    """What the sample can bear, for each model and for the service's own people."""
    rows = release.table("risk_size")
    out = []
    for r in rows[rows["column"] == "verdict"].itertuples():
        h, rest = split_key(release, str(r.row))
        whom = rest.split("|")[0]
        name = "The service's own people" if whom == "service" else model_words(release, whom)
        verdict = str(r.unit if r.unit in VERDICTS else r.label)
        why = full_stop(str(r.reason)) if r.reason else ""
        out.append([name, f"{h} days", starts_with_capital(VERDICTS.get(verdict, verdict)), why])
    return pd.DataFrame(out, columns=["For", "Horizon", "The sample is", "Why"])


def measures_table(release: Release, measures: Sequence[str]) -> pd.DataFrame:
    """Measures of every model and horizon on later discharges."""

    return grid(release, "risk_performance", heads=("Model", "Horizon"), words=_model_and_horizon(release),
                columns={m: MEASURES[m] for m in measures})  # fmt: skip


def optimism_table(release: Release) -> pd.DataFrame:
    """Apparent, optimism and corrected by bootstrap, beside repeated cross-validation, at the main horizon."""
    out = []
    for row in dict.fromkeys(str(r) for r in release.table("risk_optimism")["row"]):
        h, model = split_key(release, row)
        if h != plan(release).horizon_days:
            continue
        for measure in _CORRECTED:
            found = {part: read_amount(release, "risk_optimism", row, f"{measure}|{part}") for part in _PARTS}
            if all(a.status == "absent" for a in found.values()):
                continue
            cross = read_amount(release, "risk_cross", row, measure)
            out.append([model_words(release, model), MEASURES[measure], *(told(a) for a in found.values()),
                        "" if cross.status == "absent" else told(cross)])  # fmt: skip
    return pd.DataFrame(out, columns=["Model", "Measure", *_PARTS.values(), "Cross-validated"])


def time_table(release: Release) -> pd.DataFrame:
    """Measures of time to readmission, death competing, of every model."""
    names = {"harrell_c": "Harrell's C", "uno_c": "Uno's C", "auroc": "AUROC", "ipa": "IPA"}
    names |= {m: MEASURES[m] for m in ("observed_expected", "calibration_slope", "ici")}
    return grid(release, "risk_time", heads=("Model", "Horizon"), words=_model_and_horizon(release), columns=names)


def imputed_table(release: Release) -> pd.DataFrame:
    """Performance with missing values imputed several times."""
    names = {m: MEASURES[m] for m in (*OVERALL, "observed_expected", "calibration_slope")}
    return grid(release, "risk_imputed", heads=("Model", "Horizon"), words=_model_and_horizon(release), columns=names)


def conflict_table(release: Release) -> pd.DataFrame:
    """What equal predictive values would ask of each group, given how many of it come back."""
    names = {"base_rate": "Share who came back", "fpr_needed": "False positive rate that equal others would need",
             "mean_risk_events": "Mean risk of those who came back",
             "mean_risk_others": "Mean risk of those who did not"}  # fmt: skip
    return grid(release, "risk_group_conflict", heads=("Characteristic", "Level"), words=_group_words, columns=names)


def _model_and_horizon(release: Release) -> Words:
    def words(first: pd.Series) -> list[str]:
        h, model = split_key(release, first["row"])
        return [model_words(release, model), f"{h} days"]

    return words


def places_table(release: Release) -> pd.DataFrame:
    """Each area left out in turn, the pooled mean, and where a further area may lie."""
    special = {"pooled": "All, pooled", "prediction": "A further area (prediction interval)"}

    def words(first: pd.Series) -> list[str]:
        model, _, area = first["row"].partition("|")
        return [model_words(release, model), special.get(area, area)]

    return grid(release, "risk_places", heads=("Model", "Area left out"), words=words,
                columns={m: MEASURES[m] for m in ("auroc", "calibration_slope", "observed_expected")})  # fmt: skip


def rule_words(row: str) -> str:
    """`Risk of 0.2 or more`, `The 10% at highest risk`."""
    kind, _, at = row.partition("|")
    return f"Risk of {at} or more" if kind == "risk" else f"The {share_words(float(at))} at highest risk"


def threshold_table(release: Release) -> pd.DataFrame:
    """What pointing at people does, in people of 100."""
    return grid(release, "risk_threshold", heads=("Rule",), words=lambda first: [rule_words(first["row"])],
                columns=THRESHOLD_COLUMNS)  # fmt: skip


def benefit_table(release: Release, table: str = "risk_net_benefit") -> pd.DataFrame:
    """Net benefit and interventions avoided, by model and threshold."""

    def words(first: pd.Series) -> list[str]:
        model, _, at = first["row"].rpartition("|")
        return ["Everybody" if model == "all" else model_words(release, model), at]

    return grid(release, table, heads=("Acting for", "Threshold"), words=words,
                columns={"net_benefit": "Net benefit", "avoided_per_100": "Avoided, of 100"})  # fmt: skip


def recalibration_table(release: Release) -> pd.DataFrame:
    """Each way of bringing the model up to date, by place."""

    def words(first: pd.Series) -> list[str]:
        place, _, method = first["row"].rpartition("|")
        where = "Later discharges" if place == "later" else place
        said = str(first["label"]).rpartition(": ")[2] if ": " in str(first["label"]) else ""
        return [where, starts_with_capital(said or METHODS.get(method, method.replace("_", " ")))]

    names = {m: MEASURES[m] for m in ("observed_expected", "calibration_slope", "brier", "auroc")}
    return grid(release, "risk_recalibration", heads=("Where", "Model"), words=words, columns=names)


def missing_table(release: Release) -> pd.DataFrame:
    """How much of each predictor is missing in development and in validation."""
    rows = release.table("risk_missing")
    limit = facts.threshold(release)
    out = []
    for row in dict.fromkeys(rows["row"].astype(str)):
        own = rows[rows["row"] == row].set_index("column")
        cells = [_share_text(own.loc[c], limit) if c in own.index else "" for c in ("development", "validation")]
        out.append([starts_with_capital(str(own["label"].iloc[0]).replace("_", " ")), *cells])
    return pd.DataFrame(out, columns=["Predictor", "Missing in development", "Missing in validation"])


def _share_text(row: pd.Series, limit: int) -> str:
    if row["status"] != "shown":
        return shown(row, threshold=limit)
    share = float(row["value"]) / (100 if row["unit"] == "%" else 1)
    return f"{100 * share:.1f}%"


def _group_words(first: pd.Series) -> list[str]:
    row = str(first["row"])
    return [starts_with_capital(characteristic_words(row.split("|")[0])), level_words(row, str(first["label"]))]


def _own_label(first: pd.Series) -> str:
    return "" if first["label"] == first["row"] else str(first["label"])


def groups_table(release: Release) -> pd.DataFrame:
    """The model within each group."""
    names = {m: MEASURES[m] for m in ("discharges", "auroc", "observed_expected", "calibration_slope", "scaled_brier")}
    return grid(release, "risk_groups", heads=("Characteristic", "Level"), words=_group_words, columns=names)


def group_threshold_table(release: Release) -> pd.DataFrame:
    """What pointing at people does to each group."""
    return grid(release, "risk_group_threshold", heads=("Characteristic", "Level"), words=_group_words,
                columns=GROUP_THRESHOLD_COLUMNS)  # fmt: skip


def gap_table(release: Release) -> pd.DataFrame:
    """The largest gap of each characteristic, with intervals that hold for all levels at once."""
    names = {m: MEASURES[m] for m in ("auroc", "observed_expected", "calibration_slope", "sensitivity",
                                      "false_positive_rate", "ppv")}  # fmt: skip
    return grid(release, "risk_group_gap", heads=("Characteristic",), columns=names,
                words=lambda first: [starts_with_capital(characteristic_words(first["row"]))])  # fmt: skip


def terms_table(release: Release) -> pd.DataFrame:
    """Coefficients as odds ratios for each step that means something."""
    return grid(release, "risk_terms", heads=("Term",), columns={"odds_ratio": "Odds ratio"},
                words=lambda first: [starts_with_capital(str(first["label"]).replace("_", " "))])  # fmt: skip


def learning_table(release: Release) -> pd.DataFrame:
    """Performance by how many discharges the model was developed on."""

    def words(first: pd.Series) -> list[str]:
        model, _, share = first["row"].rpartition("|")
        return [model_words(release, model), share_words(float(share))]

    return grid(release, "risk_learning", heads=("Model", "Share used"), words=words,
                columns={"discharges": "Discharges", "auroc": "AUROC",
                         "calibration_slope": "Calibration slope"})  # fmt: skip


def instability_sentence(release: Release, model: str) -> str:
    """How far risks move from one bootstrap model to another."""
    mape = read_amount(release, "risk_instability", model, "mape")
    columns = [str(c) for c in facts.table_row(release, "risk_instability", model)["column"]]
    found = [c for c in columns if c.startswith("share_beyond")]
    parts = []
    if mape.has_number:
        parts.append(f"From one bootstrap model to another a person's risk moves by {100 * mape.value:.1f} of 100 "
                     "on average.")  # fmt: skip
    for column in found:
        beyond, size = read_amount(release, "risk_instability", model, column), column.rpartition("_")[2]
        if beyond.has_number and size.replace(".", "").isdigit():
            parts.append(f"For {share_words(beyond.value)} of discharges it moves by more than {100 * float(size):g} "
                         "of 100 on average.")  # fmt: skip
    return " ".join(parts)


def performance_lines(release: Release) -> list[tuple[str, str, Amount]]:
    """Every measure of the model that is told of, at the main horizon: its name, its text, and the number itself."""
    key = next((r for r in release.table("risk_performance")["row"]
                if split_key(release, str(r)) == (plan(release).horizon_days, told_model(release))), "")  # fmt: skip
    found = [(MEASURES[m], read_amount(release, "risk_performance", str(key), m)) for m in (*OVERALL, *CALIBRATION)]
    return [(name, text_of(amount, name), amount) for name, amount in found if amount.status != "absent"]


def text_of(amount: Amount, name: str) -> str:
    """A measure with its interval at the decimals of its column, or why there is none."""
    column = next((m for m, words in MEASURES.items() if words == name), name)
    if amount.has_number and column in _DECIMALS:
        return fixed(amount.value, amount.lower, amount.upper, _DECIMALS[column])
    return told(amount)


def group_lines(release: Release) -> list[tuple[str, str]]:
    """Every group with its AUROC and its observed over expected, in words."""
    out = []
    for first in (r for _, r in release.table("risk_groups").drop_duplicates("row").iterrows()):
        row = str(first["row"])
        auroc, ratio = (read_amount(release, "risk_groups", row, m) for m in ("auroc", "observed_expected"))
        what = ", ".join(_group_words(first))
        out.append((what, f"AUROC {told(auroc)}; observed over expected {told(ratio, 'ratio')}"))
    return out
