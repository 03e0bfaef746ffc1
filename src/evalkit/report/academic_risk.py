"""Risk models in the academic report: sample size, performance, use, groups, what they stand on, and their upkeep.

Each part shows what the release holds of it, and says so where it holds nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report import facts, figures_risk, figures_risk_more, figures_risk_panels, risk_group_tables, risk_tables
from evalkit.report.display import show_figure, show_table, show_text
from evalkit.report.figures_risk import Line
from evalkit.report.phrases import full_stop, starts_with_capital
from evalkit.report.risk_group_words import count_gaps, count_sentence, gap_sentence, level_words, read_gaps
from evalkit.report.risk_words import (
    beats_rule,
    characteristic_words,
    expectation_sentence,
    model_words,
    models_in,
    overlap_sentence,
    performance_sentences,
    plan,
    read_measure,
    told_model,
    use_sentence,
)
from evalkit.report.value_facts import has_numbers, slug

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_INTENT = ("A risk says who is more likely to come back, not why and not what would help. No number here supports "
           "withholding care from anybody.")  # fmt: skip


def show_risk(release: Release) -> None:
    """Everything on risk models, in order."""
    if not release.protocol.risk_model:
        show_text("The release holds no risk model: the protocol asks for none.", id="text-no-risk")
        return
    show_text(_INTENT, id="text-risk-intent")
    for part in (show_sample, show_performance, show_calibration, show_use, show_stands_on, show_updating, show_groups,
                 show_explanation):  # fmt: skip
        part(release)


def _absent(name: str, what: str) -> None:
    show_text(f"The release holds no {what}.", id=f"text-no-risk-{name}")


# ---- sample --------------------------------------------------------------------------------------


def show_sample(release: Release) -> None:
    """Discharges, what sample size asks for, and how much is missing."""
    if facts.release_has(release, "risk_sample"):
        show_table(risk_tables.sample_table(release), id="tab-risk-sample",
                   caption="Discharges for development and validation",
                   note="Deaths are those before any readmission. Counts are rounded. "
                        f"{overlap_sentence(release)}".strip())  # fmt: skip
    else:
        _absent("sample", "description of the discharges")
    size, validation = risk_tables.size_table(release), risk_tables.validation_size_table(release)
    if len(size):
        show_table(size, id="tab-risk-size", caption="Sample size: discharges needed to develop each model",
                   note="Needed by each criterion, rounded up, and what there is, rounded down, as discharges of "
                        "independent people; the verdict is of the numbers before rounding. "
                        f"{expectation_sentence(release)}".strip())  # fmt: skip
    if len(validation):
        show_table(validation, id="tab-risk-size-validation", caption="Sample size: discharges needed to validate",
                   note="Needed for intervals no wider than named; with fewer they are wider.")  # fmt: skip
    if not len(size) and not len(validation):
        _absent("size", "calculation of sample size")
    missing = risk_tables.missing_table(release)
    if len(missing):
        show_table(missing, id="tab-risk-missing", caption="Predictors: share of values missing")
    else:
        _absent("missing", "shares of missing predictors")


# ---- performance ---------------------------------------------------------------------------------


def show_performance(release: Release) -> None:
    """Every measure on later discharges, what it says, and why numbers are missing."""
    note = "A model is fit for use on nobody on the strength of this table alone."
    rows = release.table("risk_performance")
    if rows.loc[rows["column"].isin(risk_tables.OVERALL), "value"].notna().any():
        show_table(risk_tables.measures_table(release, risk_tables.OVERALL), id="tab-risk",
                   caption="Performance on later discharges", note=note)  # fmt: skip
    if rows.loc[rows["column"].isin(risk_tables.CALIBRATION), "value"].notna().any():
        show_table(risk_tables.measures_table(release, risk_tables.CALIBRATION, unbuilt="left out"),
                   id="tab-risk-calibration", caption="Calibration on later discharges", note=note)  # fmt: skip
    reasons = risk_tables.not_built(release)
    if reasons:
        show_text("\n\n".join(reasons), id="text-risk-reason")
    days = plan(release).horizon_days
    if has_numbers(release, "risk_time"):
        show_table(risk_tables.time_table(release), id="tab-risk-time",
                   caption=f"Time to readmission within {days} days, death competing",
                   note="IPA: index of prediction accuracy, the scaled Brier score in time.")  # fmt: skip
    if has_numbers(release, "risk_imputed"):
        show_table(risk_tables.imputed_table(release), id="tab-risk-imputed",
                   caption=f"Missing values: as shipped, and imputed several times, {days} days",
                   note="Later: on later discharges. Corrected: on those of development, less "
                        "the optimism.")  # fmt: skip
    if has_numbers(release, "risk_performance"):
        show_text(_reading(release), id="text-risk-reading")
    if not facts.release_has(release, "risk_performance"):
        _absent("performance", "measure of performance")


def _reading(release: Release) -> str:
    lines = []
    for model in models_in(release):
        if read_measure(release, "auroc", model=model).has_number:
            lines.append(f"- **{model_words(release, model)}.** {performance_sentences(release, model)}")
    beside = beats_rule(release)
    return "\n".join([*lines, *([f"\n{full_stop(beside)}"] if beside else [])]) or "No AUROC is released."


def calibrated(release: Release) -> list[str]:
    """Models that the release has a calibration curve or tenths of, with a number."""
    names = [t.split(".", 1)[1] for prefix in ("risk_curve.", "calibration.")
             for t in facts.tables_like(release, prefix) if has_numbers(release, t)]  # fmt: skip
    return sorted(dict.fromkeys(names), key=lambda m: m != told_model(release))


def show_calibration(release: Release) -> None:
    """The model that is told of in full; the others as small panels beneath."""
    found = calibrated(release)
    days = plan(release).horizon_days
    for model in found[:1]:
        tables = [release.table(f"{kind}.{model}") for kind in ("risk_curve", "calibration")]
        show_figure(figures_risk.plot_calibration_curve(*tables), id=f"fig-risk-calibration-{slug(model)}",
                    caption=f"Calibration of {days}-day risk: {model_words(release, model)}",
                    alt=figures_risk.describe_calibration_curve(*tables))  # fmt: skip
    panels = other_curves(release)
    if panels:
        show_figure(figures_risk_panels.plot_curve_panels(panels), id="fig-risk-calibration-others",
                    caption=f"Calibration of {days}-day risk: the other models",
                    alt=figures_risk_panels.describe_curve_panels(panels))  # fmt: skip
    if not found:
        _absent("calibration", "calibration curve")


def other_curves(release: Release) -> list[tuple[str, pd.DataFrame]]:
    """Curves of the models that are not told of in full, by the model in words."""
    tables = {m: release.table(f"risk_curve.{m}") for m in calibrated(release)[1:]}
    return [(model_words(release, m), rows) for m, rows in tables.items() if rows["value"].notna().any()]


# ---- use -----------------------------------------------------------------------------------------


def show_use(release: Release) -> None:
    """The decision curve, net benefit also with death competing, and what each rule does to people."""
    models = {m: model_words(release, m) for m in _few_models(release)}
    rows = release.table("risk_net_benefit")
    if has_numbers(release, "risk_net_benefit"):
        show_figure(figures_risk.plot_decision_curve(rows, models=models), id="fig-risk-decision",
                    caption="Decision curve",
                    alt=figures_risk.describe_decision_curve(rows, models=models))  # fmt: skip
    for table, name, more in (("risk_net_benefit", "decision", ""),
                              ("risk_net_benefit_competing", "decision-competing", ", death competing")):  # fmt: skip
        if not has_numbers(release, table):
            _absent(name, f"decision curve{more}")
            continue
        show_table(risk_tables.benefit_table(release, table), id=f"tab-risk-{name}", caption=f"Net benefit{more}",
                   note="Acting for nobody is 0. Avoided: of 100 discharges, how many fewer need be acted for than if "
                        "all were, with no fewer returns reached.")  # fmt: skip
    primary = told_model(release)
    if has_numbers(release, "risk_net_benefit"):
        show_text(f"{model_words(release, primary)}. {use_sentence(release, primary)} It is taken that acting helps, "
                  "which these data do not show.", id="text-risk-use")  # fmt: skip
    if has_numbers(release, "risk_threshold"):
        show_table(risk_tables.threshold_table(release), id="tab-risk-threshold",
                   caption="What pointing at people does, in people of 100",
                   note=f"{model_words(release, primary)}, {plan(release).horizon_days} days.")  # fmt: skip
    else:
        _absent("threshold", "table of thresholds")


def _few_models(release: Release) -> list[str]:
    """The primary model first; at most four, as a picture has room for."""
    rows = release.table("risk_net_benefit")
    names = dict.fromkeys(rows["row"].astype(str).str.rpartition("|")[0]) if len(rows) else {}
    kept = [m for m in names if m != "all"]
    return sorted(kept, key=lambda m: m != told_model(release))[:4]


# ---- what it stands on ---------------------------------------------------------------------------


def show_stands_on(release: Release) -> None:
    """Optimism and cross-validation, places, learning curve and instability."""
    table = risk_tables.optimism_table(release)
    if len(table):
        show_table(table, id="tab-risk-optimism", caption="Optimism by bootstrap, and repeated cross-validation",
                   note="On the development discharges; optimism is what the model flatters itself by.")  # fmt: skip
    else:
        _absent("optimism", "estimate of optimism")
    _show_places(release)
    primary = told_model(release)
    rows = release.table("risk_learning")
    rows = rows[rows["row"].str.rsplit("|", n=1).str[0] == primary]
    if rows["value"].notna().any():
        show_figure(figures_risk_more.plot_learning(rows), id="fig-risk-learning",
                    caption="Learning curve: performance by discharges used",
                    alt=figures_risk_more.describe_learning(rows))  # fmt: skip
    else:
        _absent("learning", "learning curve")
    _show_instability(release, primary)


def _show_places(release: Release) -> None:
    if not has_numbers(release, "risk_places"):
        _absent("places", "validation by area")
        return
    show_table(risk_tables.places_table(release), id="tab-risk-places",
               caption="Each area left out of development in turn",
               note="Pooled with random effects. The last line is where a further area may lie.")  # fmt: skip
    lines = _place_lines(release)
    x = "AUROC in the area left out"
    show_figure(figures_risk.plot_forest_of(lines, x=x), id="fig-risk-places", caption=x,
                alt=figures_risk.describe_forest_of(lines, x=x))  # fmt: skip


def _place_lines(release: Release) -> list[Line]:
    rows = release.table("risk_places")
    rows = rows[rows["column"] == "auroc"]
    names = {"pooled": "All, pooled", "prediction": "A further area"}
    looks = {"pooled": 1, "prediction": 2}
    return [Line(model_words(release, model), names.get(area, area), (r.value, r.lower, r.upper), looks.get(area, 0))
            for r in rows.itertuples() for model, _, area in [str(r.row).partition("|")]]  # fmt: skip


def _show_instability(release: Release, model: str) -> None:
    said = risk_tables.instability_sentence(release, model)
    rows = release.table("risk_instability_curve")
    if said:
        show_text(said, id="text-risk-instability")
    if rows["value"].notna().any():
        show_figure(figures_risk_more.plot_instability(rows), id="fig-risk-instability",
                    caption="Instability: risks by models of other samples",
                    alt=figures_risk_more.describe_instability(rows))  # fmt: skip
    if not said and not rows["value"].notna().any():
        _absent("instability", "measure of instability")


def show_updating(release: Release) -> None:
    """Recalibration and drift."""
    if has_numbers(release, "risk_recalibration"):
        show_table(risk_tables.recalibration_table(release), id="tab-risk-recalibration",
                   caption="Bringing the model up to date, by place")  # fmt: skip
    else:
        _absent("recalibration", "recalibration")
    rows = release.table("risk_drift")
    if rows["value"].notna().any():
        show_figure(figures_risk_more.plot_drift(rows), id="fig-risk-drift", caption="Performance by year of discharge",
                    alt=figures_risk_more.describe_drift(rows))  # fmt: skip
    else:
        _absent("drift", "performance by year")


# ---- groups --------------------------------------------------------------------------------------


def show_groups(release: Release) -> None:
    """The model within groups, what a threshold does to each, and every gap that was looked at."""
    shown = False
    if facts.release_has(release, "risk_groups"):
        shown = True
        show_table(risk_group_tables.groups_table(release), id="tab-risk-groups", caption="Performance within groups")
        lines = [line for line in group_lines(release, "auroc") if math.isfinite(line.ends[0])]
        if lines:
            caption, options = "AUROC within groups", {"whole": read_measure(release, "auroc").value}
            show_figure(figures_risk.plot_forest_of(lines, x=caption, **options), id="fig-risk-groups-auroc",
                        caption=caption, alt=figures_risk.describe_forest_of(lines, x=caption, **options))  # fmt: skip
    panels = risk_group_tables.curves_of(release)
    if panels:
        show_figure(figures_risk_panels.plot_curve_panels(panels), id="fig-risk-groups-calibration",
                    caption="Calibration within groups: each level that is released",
                    alt=figures_risk_panels.describe_curve_panels(panels))  # fmt: skip
    if facts.release_has(release, "risk_group_threshold"):
        shown = True
        show_table(risk_group_tables.group_threshold_table(release), id="tab-risk-group-threshold",
                   caption="What a threshold does to each group", note=_CONFLICT)  # fmt: skip
    gaps = risk_group_tables.gap_table(release)
    if len(gaps):
        show_table(gaps, id="tab-risk-gaps", caption="Gaps between levels",
                   note="Intervals hold for all pairs of levels at once. If all were alike: the gap that chance alone "
                        "would show on average. p: of the test that they are. A release rounds ends "
                        "outwards, so that one at 0 may have been above it; p then says it.")  # fmt: skip
    if shown or facts.release_has(release, "risk_group_gap"):
        lines = [count_sentence(count_gaps(release)), *(f"- {gap_sentence(release, g)}" for g in read_gaps(release))]
        show_text(lines[0] + "\n\n" + "\n".join(lines[1:]), id="text-risk-groups")
    else:
        _absent("groups", "performance within groups")


_CONFLICT = (
    "Needed: the false positive rate at which predictive value and sensitivity would be alike in all groups. Where "
    "groups come back unequally often not all three can be; so unequal predictive values alone are no proof of "
    "unfairness."
)


def group_lines(release: Release, measure: str) -> list[Line]:
    """Lines of a forest of one measure, by characteristic and level."""
    rows = release.table("risk_groups")
    return [Line(starts_with_capital(characteristic_words(str(r.row).split("|")[0])),
                 level_words(str(r.row), str(r.label)), (r.value, r.lower, r.upper))
            for r in rows[rows["column"] == measure].itertuples()]  # fmt: skip


# ---- explanation ---------------------------------------------------------------------------------


def show_explanation(release: Release) -> None:
    """Terms, importance and dependence of the primary model."""
    if has_numbers(release, "risk_terms"):
        drawn = "Penalised, so that they are drawn towards 1. " if told_model(release) == "logistic" else ""
        show_table(risk_tables.terms_table(release), id="tab-risk-terms", caption="The model's terms as odds ratios",
                   note=f"{drawn}They describe the model; none is an effect.")  # fmt: skip
    else:
        _absent("terms", "terms of a model")
    rows = release.table("risk_importance")
    rows = rows[rows["row"].str.split("|").str[0] == told_model(release)]
    if rows.loc[rows["column"] == "auroc_drop", "value"].notna().any():
        show_figure(figures_risk_more.plot_importance(rows), id="fig-risk-importance",
                    caption="Importance: what is lost when a predictor is shuffled",
                    alt=figures_risk_more.describe_importance(rows))  # fmt: skip
    else:
        _absent("importance", "importance of predictors")
    panels = dependence_panels(release)
    if panels:
        show_figure(figures_risk_panels.plot_dependence_panels(panels), id="fig-risk-dependence",
                    caption="Mean risk, out of 100, by each predictor; beneath, how many of 100 discharges are near",
                    alt=figures_risk_panels.describe_dependence_panels(panels))  # fmt: skip
    else:
        _absent("dependence", "dependence on predictors")


def dependence_panels(release: Release) -> list[tuple[str, pd.DataFrame]]:
    """Rows of each predictor that has a number, by its name in words, in its own unit."""
    rows = release.table("risk_dependence")
    names = rows["row"].astype(str).str.split("|").str[0]
    found = []
    for predictor in dict.fromkeys(names):
        own = rows[names == predictor]
        if own["value"].notna().any():
            label = str(own["label"].iloc[0])
            words = predictor if label in own["row"].to_list() else label
            unit = " (days)" if predictor.startswith("log_") and predictor.endswith("_days") else ""
            words = words.replace(" (log days)", "").replace("_", " ")
            found.append((starts_with_capital(words + unit), own))
    return found
