"""The peer report's part on whom the service helped or harmed more: what was asked beforehand, and what can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.report import figures
from evalkit.report.display import show_figure, show_text
from evalkit.report.people_effects import SUBGROUPS, PeopleEffect, read_people_effects
from evalkit.report.phrases import service_short, starts_with_capital

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_EVERY = 100  # people for whom a difference is told
WHO_PAIRS = {
    "female": ("women", "men and others"), "black": ("Black people", "all others"),
    "other_minority": ("people of other minorities", "all others"), "psychosis": ("people with psychosis", "others"),
    "dual_diagnosis": ("people who also have a drug or alcohol problem", "others"),
    "forensic_history": ("people who have been through the courts", "others"),
}  # fmt: skip


def show_for_whom(release: Release) -> None:
    """Whether the effect differs between people: what was asked beforehand, and how little can be told."""
    spec = release.protocol.after_discharge
    effects = read_people_effects(release, SUBGROUPS)
    if spec is None or not spec.subgroups or not effects:
        show_text("The plan did not ask if some people were helped more than others.", id="text-no-whom")
        return
    service = service_short(release.protocol.study)
    shown = [e for e in effects if e.has_number]
    clear = [e for e in shown if e.certainty in ("strong", "likely", "suggests")]
    parts = [
        f"Did {service} help or harm some people more than others? We named the groups before we saw the results. "
        "If you look at many groups, one will stand out by luck. Our method allows for that: it pulls all groups "
        "towards each other, as far as the figures do not force them apart."
    ]
    if clear:
        better = release.protocol.outcome(spec.subgroups_of).better
        parts += ["The figures suggest a difference here:", "\n".join(f"- {_whom(e, better)}" for e in clear)]
    elif shown:
        parts.append("We found no clear difference between groups. That does not mean that it was the same for all.")
    if len(shown) < len(effects):
        which = "some of these groups" if shown else "these groups"
        parts.append(f"For {which} there were too few people to say anything.")
    show_text("\n\n".join(parts), id="text-whom")
    if shown:
        show_text("Each line in the picture compares two kinds of people. The dot is our best answer. The bar is the "
                  "range of doubt. Left of the middle, the change was better for the first kind of people. Right of "
                  "it, for the second. A bar that crosses the middle means that we cannot tell.",
                  id="text-whom-picture")  # fmt: skip
        rows = release.table(SUBGROUPS)
        hundred = {c: (_EVERY * rows[c]).round() + 0.0 for c in ("value", "lower", "upper")}
        labels = [_beside(str(r.outcome), str(r.label)) for r in rows.itertuples()]
        rows = rows.assign(unit="people", label=labels, **hundred)
        words = "Out of 100 people: difference between the two changes"
        show_figure(figures.plot_differences(rows, x=words), id="fig-whom",
                    caption="Going back to hospital: did the change differ between people?",
                    alt=figures.describe_differences(rows, x=words))  # fmt: skip


def _beside(key: str, label: str) -> str:
    """`Women, beside men and others`."""
    one, other = WHO_PAIRS.get(key.split(".")[0], (label, ""))
    return starts_with_capital(f"{one}, beside {other}" if other else one)


def _whom(effect: PeopleEffect, better: str) -> str:
    """Who of the two did better out of it: `women did better out of it than men and others`."""
    one, other = WHO_PAIRS.get(effect.key.split(".")[0], (effect.label, "all others"))
    ahead = (effect.value < 0) == (better == "lower")
    return f"{starts_with_capital(one)} did {'better' if ahead else '**worse**'} out of it than {other}."
