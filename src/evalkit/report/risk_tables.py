"""Tables of risk models for referees: every cell is text, and what is missing says why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import pandas as pd

from evalkit.report import facts
from evalkit.report.phrases import full_stop, listed, starts_with_capital
from evalkit.report.plain import referee_reason
from evalkit.report.risk_words import (
    MEASURES,
    METHODS,
    VERDICTS,
    main_key,
    model_words,
    models_in,
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
OVERALL = ("auroc", "auprc", "brier", "scaled_brier", "log_loss")
CALIBRATION = ("observed_expected", "calibration_intercept", "calibration_slope", "ici", "e50", "e90", "emax")
_PARTS = {"apparent": "Apparent", "optimism": "Optimism", "corrected": "Corrected"}
_CORRECTED = ("auroc", "scaled_brier", "observed_expected", "calibration_slope", "ici")


_REFUSED = ("not_estimable", "refused")
_NOT_BUILT = "not built"
_DECIMALS = dict.fromkeys(("flagged_per_100", "came_back_of_100_flagged", "found_of_100", "alarms_per_found",
                           "avoided_per_100"), 1)  # fmt: skip
_DECIMALS |= dict.fromkeys(("brier", "scaled_brier", "ipa", "log_loss", "ici", "e50", "e90", "emax", "net_benefit"), 3)


def cell_text(row: pd.Series, column: str, *, threshold: int) -> str:
    """A number with its interval at the decimals of its column, or why there is none."""
    ends = [float(row[c]) for c in ("value", "lower", "upper")]
    if row["status"] in _REFUSED:  # why is told once, beneath the tables
        return "not estimable"
    if row["status"] != "shown" or not math.isfinite(ends[0]) or column not in _DECIMALS:
        return shown(row, threshold=threshold)
    return fixed(*ends, _DECIMALS[column])


def fixed(value: float, lower: float, upper: float, decimals: int) -> str:
    """`10.0 (8.4 to 11.6)`: all at the same decimals."""
    text = [f"{round(x, decimals) + 0.0:.{decimals}f}".replace("-", "−") for x in (value, lower, upper)]
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
        if table == "risk_performance" and own["status"].isin(_REFUSED).all():
            cells = [_NOT_BUILT] * len(names)
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
    """What each criterion of development asks for, what there is, and what that is enough for: a line a model."""
    criteria = _criteria(release, validation=False)
    words = {(h, whom): verdict for h, whom, verdict in _verdict_rows(release)}
    lines = dict.fromkeys([*((h, whom) for h, whom, _ in criteria), *words])
    heads = list(dict.fromkeys(label for _, _, label in criteria))
    out = []
    for h, whom in sorted(lines, key=lambda line: line[0] != plan(release).horizon_days):
        found = {label: row for (at, who, label), row in criteria.items() if (at, who) == (h, whom)}
        name = "The service's own people" if whom == "service" else model_words(release, whom)
        have = next((_size_text(release, row, "have") for row in found.values()), "")
        cells = [_size_text(release, found[label], "needed") if label in found else "" for label in heads]
        out.append([name, f"{h} days", *cells, have, _BEARS.get(words.get((h, whom), ""), words.get((h, whom), ""))])
    return pd.DataFrame(out, columns=["For", "Horizon", *heads, "There are", "Enough"])


_BEARS = {"develop": "to develop", "recalibrate": "only to recalibrate", "refuse": "for neither"}


def validation_size_table(release: Release) -> pd.DataFrame:
    """What each criterion of validation asks for, and what there is: a line a horizon."""
    criteria = _criteria(release, validation=True)
    heads = list(dict.fromkeys(label for _, _, label in criteria))
    out = []
    for h in dict.fromkeys(h for h, *_ in criteria):
        found = {label: row for (at, _, label), row in criteria.items() if at == h}
        cells = [_size_text(release, found[label], "needed") if label in found else "" for label in heads]
        out.append([f"{h} days", *cells, _size_text(release, next(iter(found.values())), "have")])
    return pd.DataFrame(out, columns=["Horizon", *heads, "There are"])


def _criteria(release: Release, *, validation: bool) -> dict[tuple[int, str, str], str]:
    """Rows of criteria by horizon, whom they are for, and the criterion in words."""
    rows = release.table("risk_size")
    out = {}
    for r in rows[rows["column"] != "verdict"].drop_duplicates("row").itertuples():
        h, rest = split_key(release, str(r.row))
        whom, _, criterion = rest.partition("|")
        if (whom == "validation") == validation:
            label = str(r.label) if r.label and r.label != r.row else criterion.replace("_", " ")
            out[h, whom, starts_with_capital(label)] = str(r.row)
    return out


def _size_text(release: Release, row: str, column: str) -> str:
    found = facts.cell(release, "risk_size", row, column)
    return "" if found is None else cell_text(found, column, threshold=facts.threshold(release))


def _verdict_rows(release: Release) -> list[tuple[int, str, str]]:
    """Horizon, whom it is for, and the verdict."""
    rows = release.table("risk_size")
    out = []
    for r in rows[rows["column"] == "verdict"].itertuples():
        h, rest = split_key(release, str(r.row))
        out.append((h, rest.split("|")[0], str(r.unit if r.unit in VERDICTS else r.label)))
    return out


def not_built(release: Release) -> list[str]:
    """Models without any number on later discharges, and why, each reason once."""
    rows = release.table("risk_performance")
    small = {(h, whom) for h, whom, verdict in _verdict_rows(release) if verdict != "develop"}
    whom_by_reason: dict[str, dict[str, list[str]]] = {}
    for row in dict.fromkeys(rows["row"].astype(str)):
        own = rows[rows["row"] == row]
        if not own["status"].isin(_REFUSED).all():
            continue
        h, model = split_key(release, row)
        why = _TOO_SMALL if (h, model) in small else full_stop(referee_reason(str(own["reason"].iloc[0])))
        name = "every model" if model == "all" else model_words(release, model)
        whom_by_reason.setdefault(why, {}).setdefault(name, []).append(str(h))
    return [f"Not built: {'; '.join(f'{name} ({listed(days)} days)' for name, days in found.items())}. {why}"
            for why, found in whom_by_reason.items()]  # fmt: skip


_TOO_SMALL = "The discharges are too few for what sample size asks of them."


def measures_table(release: Release, measures: Sequence[str], *,
                   unbuilt: Literal["shown", "left out"] = "shown") -> pd.DataFrame:  # fmt: skip
    """Measures of every model and horizon on later discharges."""
    table = grid(release, "risk_performance", heads=("Model", "Horizon"), words=_model_and_horizon(release),
                 columns={m: MEASURES[m] for m in measures})  # fmt: skip
    return table if unbuilt == "shown" else table[(table.iloc[:, 2:] != _NOT_BUILT).any(axis=1)]


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
    """Measures of time to readmission, death competing, of every model at the main horizon."""
    names = {"harrell_c": "Harrell's C", "uno_c": "Uno's C", "auroc": "AUROC", "ipa": "IPA"}
    names |= {m: MEASURES[m] for m in ("observed_expected", "calibration_slope", "ici")}
    return grid(release, "risk_time", heads=("Model",), columns=names,
                words=lambda first: [model_words(release, split_key(release, first["row"])[1])])  # fmt: skip


def imputed_table(release: Release) -> pd.DataFrame:
    """Each model as shipped and with missing values imputed several times, at the main horizon, and of the model that
    is told of both corrected for optimism on development."""
    names = {m: MEASURES[m] for m in ("auroc", "scaled_brier", "observed_expected", "calibration_slope", "ici")}
    limit = facts.threshold(release)
    kinds = [
        ("as shipped, later", "risk_performance", ""),
        ("imputed, later", "risk_imputed", ""),
    ]
    more = [("as shipped, development, corrected", "risk_optimism", "|corrected"),
            ("imputed, development, corrected", "risk_imputed", "|corrected")]  # fmt: skip
    out = []
    for model in models_in(release, "risk_imputed"):
        for words, table, part in [*kinds, *(more if model == told_model(release) else [])]:
            rows = facts.table_row(release, table, main_key(release, table, model=model)).set_index("column")
            cells = [cell_text(rows.loc[m + part], m, threshold=limit) if m + part in rows.index else ""
                     for m in names]  # fmt: skip
            if any(cells):
                out.append([f"{model_words(release, model)}: {words}", *cells])
    return pd.DataFrame(out, columns=["Model and data", *names.values()])


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
    """Net benefit of each model and of acting for all, and what the told model spares: a line a threshold."""
    rows = release.table(table)
    limit = facts.threshold(release)
    keys = [str(r).rpartition("|") for r in dict.fromkeys(rows["row"])]
    models = sorted(dict.fromkeys(m for m, _, _ in keys), key=lambda m: (m == "all", m != told_model(release)))
    own = told_model(release)

    def text(model: str, at: str, column: str) -> str:
        found = facts.cell(release, table, f"{model}|{at}", column)
        return "" if found is None else cell_text(found, column, threshold=limit)

    out = [[at, *(text(m, at, "net_benefit") for m in models), text(own, at, "avoided_per_100")]
           for at in sorted(dict.fromkeys(t for _, _, t in keys), key=float)]  # fmt: skip
    names = ["Everybody" if m == "all" else model_words(release, m) for m in models]
    return pd.DataFrame(out, columns=["Threshold", *names, f"Avoided, of 100: {model_words(release, own)}"])


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


def terms_table(release: Release) -> pd.DataFrame:
    """Coefficients as odds ratios for each step that means something."""
    return grid(release, "risk_terms", heads=("Term",), columns={"odds_ratio": "Odds ratio"},
                words=lambda first: [term_words(str(first["label"]))])  # fmt: skip


def term_words(label: str) -> str:
    """`Left against advice: yes, against no`: true and false are for machines."""
    text = label.replace(": True, against False", ": yes, against no").replace(", against False", ", against no")
    return starts_with_capital(text.replace("_", " "))


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
