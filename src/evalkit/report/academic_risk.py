"""Risk models in the academic report: sample size, performance, use, groups, what they stand on, and their upkeep.

Each part shows what the release holds of it, and says so where it holds nothing. `METHODS` is the text of the methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.report import facts, figures_risk, figures_risk_more, risk_tables
from evalkit.report.display import show_figure, show_table, show_text
from evalkit.report.figures_risk import Line
from evalkit.report.phrases import full_stop, listed, starts_with_capital
from evalkit.report.plain import referee_reason
from evalkit.report.risk_words import (
    MEASURES,
    beats_rule,
    characteristic_words,
    gap_sentence,
    level_words,
    model_words,
    models_in,
    performance_sentences,
    plan,
    read_gaps,
    read_measure,
    told_model,
    use_sentence,
)
from evalkit.report.value_facts import has_numbers, reasons_of, slug

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

METHODS = r"""### Readmission risk models

Reported by TRIPOD+AI [@collins2024]. *Predictors* are what was known at discharge; death before readmission competes.
*Sample size* follows @riley2019 and @riley2020 for development and @riley2021 for validation; where it is not reached
no model is developed, or one is only brought up to date. *Development* uses discharges whose follow-up was complete
before a date, *validation* later ones. The rule of earlier admissions alone is what a model has to beat.

*Discrimination* is the area under the curve with its variance by person [@obuchowski1997]. *Calibration* is told by
observed over expected, intercept and slope, and a smooth curve of $P(Y = 1)$ on $\mathrm{logit}(p)$
[@vancalster2019]; with $c(p)$ that curve,

$$\mathrm{ICI} = \frac{1}{n} \sum_i |c(p_i) - p_i|$$

and E50, E90 and Emax are quantiles and the largest of these distances [@austin2019]. With $\mathrm{TP}$ and
$\mathrm{FP}$ the people rightly and wrongly pointed at from risk $t$ on, *net benefit* [@vickers2006] is

$$\mathrm{NB}(t) = \frac{\mathrm{TP}}{n} - \frac{\mathrm{FP}}{n} \, \frac{t}{1 - t}$$

*Optimism* is estimated by bootstrap [@harrell1996], performance in places by leaving out one area at a time
[@steyerberg2016], instability from the bootstrap models [@rileycollins2023], and updating by the simplest method that
the data do not reject [@vergouwe2017]. Intervals count people, not discharges. Gaps between groups have intervals that
hold for all pairs at once. Odds ratios, importance and dependence describe the model: none is an effect."""

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
                   note="Deaths are those before any readmission. Counts are rounded.")  # fmt: skip
    else:
        _absent("sample", "description of the discharges")
    size = risk_tables.size_table(release)
    if len(size):
        show_table(size, id="tab-risk-size", caption="Sample size: what each criterion asks for",
                   note="What is needed is rounded up.")  # fmt: skip
    verdict = risk_tables.verdict_table(release)
    if len(verdict):
        show_table(verdict, id="tab-risk-verdict", caption="What the sample can bear")
    if not len(size) and not len(verdict):
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
    for name, caption, measures in (("tab-risk", "Performance on later discharges", risk_tables.OVERALL),
                                    ("tab-risk-calibration", "Calibration on later discharges",
                                     risk_tables.CALIBRATION)):  # fmt: skip
        rows = release.table("risk_performance")
        if rows.loc[rows["column"].isin(measures), "value"].notna().any():
            show_table(risk_tables.measures_table(release, measures), id=name, caption=caption, note=note)
    for table, name, make, caption in (
        ("risk_time", "tab-risk-time", risk_tables.time_table, "Time to readmission, death competing"),
        ("risk_imputed", "tab-risk-imputed", risk_tables.imputed_table, "With missing values imputed several times"),
    ):
        if has_numbers(release, table):
            show_table(make(release), id=name, caption=caption)
    if has_numbers(release, "risk_performance"):
        show_text(_reading(release), id="text-risk-reading")
    reasons = [full_stop(referee_reason(r)) for r in reasons_of(release, "risk_performance")]
    if reasons:
        show_text(f"Not estimated: {listed(list(dict.fromkeys(reasons)))}", id="text-risk-reason")
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
    """A curve for each model."""
    found = calibrated(release)
    for model in found:
        tables = [release.table(f"{kind}.{model}") for kind in ("risk_curve", "calibration")]
        show_figure(figures_risk.plot_calibration_curve(*tables), id=f"fig-risk-calibration-{slug(model)}",
                    caption=f"Calibration of {plan(release).horizon_days}-day risk: {model_words(release, model)}",
                    alt=figures_risk.describe_calibration_curve(*tables))  # fmt: skip
    if not found:
        _absent("calibration", "calibration curve")


# ---- use -----------------------------------------------------------------------------------------


def show_use(release: Release) -> None:
    """Decision curves, also with death competing, and what each rule does to people."""
    models = {m: model_words(release, m) for m in _few_models(release)}
    for table, name, more in (("risk_net_benefit", "decision", ""),
                              ("risk_net_benefit_competing", "decision-competing", ", death competing")):  # fmt: skip
        if not has_numbers(release, table):
            _absent(name, f"decision curve{more}")
            continue
        rows = release.table(table)
        show_figure(figures_risk.plot_decision_curve(rows, models=models), id=f"fig-risk-{name}",
                    caption=f"Decision curve{more}",
                    alt=figures_risk.describe_decision_curve(rows, models=models))  # fmt: skip
        show_table(risk_tables.benefit_table(release, table), id=f"tab-risk-{name}",
                   caption=f"Net benefit and interventions avoided{more}",
                   note="Avoided: of 100 discharges, how many fewer need be acted for than if all were, with no "
                        "fewer returns reached.")  # fmt: skip
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
    """The model within groups, what a threshold does to each, and the largest gaps."""
    shown = False
    if facts.release_has(release, "risk_groups"):
        shown = True
        show_table(risk_tables.groups_table(release), id="tab-risk-groups", caption="Performance within groups")
        for measure in ("auroc", "observed_expected"):
            lines = group_lines(release, measure)
            if any(line.ends[0] == line.ends[0] for line in lines):
                caption, null = f"{MEASURES[measure]} within groups", 1.0 if measure == "observed_expected" else None
                options = {"x": caption, "whole": read_measure(release, measure).value, "null": null}
                show_figure(figures_risk.plot_forest_of(lines, **options), id=f"fig-risk-groups-{slug(measure)}",
                            caption=caption, alt=figures_risk.describe_forest_of(lines, **options))  # fmt: skip
    if facts.release_has(release, "risk_group_threshold"):
        shown = True
        show_table(risk_tables.group_threshold_table(release), id="tab-risk-group-threshold",
                   caption="What a threshold does to each group",
                   note="Predictive values follow how many of a group come back; unequal ones alone are no proof of "
                        "unfairness.")  # fmt: skip
    if has_numbers(release, "risk_group_conflict"):
        show_table(risk_tables.conflict_table(release), id="tab-risk-group-conflict",
                   caption="What cannot be equal at once",
                   note="Where groups come back unequally often, equal predictive values and equal rates of error "
                        "exclude each other.")  # fmt: skip
    if facts.release_has(release, "risk_group_gap"):
        shown = True
        show_table(risk_tables.gap_table(release), id="tab-risk-gaps", caption="Largest gap between levels",
                   note="The largest of several estimated gaps is above 0 even where all levels are alike; intervals "
                        "hold for all pairs at once.")  # fmt: skip
    if shown:
        lines = [f"- {gap_sentence(release, gap)}" for gap in read_gaps(release)]
        show_text("\n".join(lines), id="text-risk-groups")
    else:
        _absent("groups", "performance within groups")


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
    dependence = release.table("risk_dependence")
    names = dependence["row"].str.split("|").str[0]
    for predictor in dict.fromkeys(names):
        own = dependence[names == predictor]
        if own["value"].notna().any():
            label = str(own["label"].iloc[0])
            x = starts_with_capital((predictor if label in own["row"].to_list() else label).replace("_", " "))
            show_figure(figures_risk_more.plot_dependence(own, x=x), id=f"fig-risk-dependence-{slug(predictor)}",
                        caption=f"Mean risk by {x[:1].lower()}{x[1:]}",
                        alt=figures_risk_more.describe_dependence(own, x=x))  # fmt: skip
    if not dependence["value"].notna().any():
        _absent("dependence", "dependence on predictors")
