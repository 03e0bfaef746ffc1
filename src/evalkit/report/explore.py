"""The interactive page: one HTML file that needs nothing else, made from released rows alone.

Every answer is written into the page as text and pictures. The script in it only shows one and hides the others, so
that without it the page is a long document with a list of contents.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.core.errors import Fault, OutputError
from evalkit.report.explore_data import GROUPS, SHORT, STANDINGS, Answer, Pair, Row, Topic, Trend
from evalkit.report.explore_svg import MARKS, draw_array, draw_defs, draw_key, draw_line_key, draw_span, draw_trend
from evalkit.report.explore_topics import build_topics
from evalkit.report.peer import SIMULATED
from evalkit.report.phrases import full_stop, service_short, times_right
from evalkit.report.words import LADDER, LADDER_SHORT, Certainty

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_MOST_IN_A_ROW = 40
_RUNGS: tuple[Certainty, ...] = ("too_uncertain", "suggests", "likely", "strong")


def render_explore(release: Release, path: Path, *, title: str) -> Path:
    """Write the interactive page of a release to `path`.

    Raises
    ------
    OutputError
        If the file cannot be written; what was there before is untouched then.
    """
    path = Path(path)
    content = build_page(release, title=title)
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_text(content, encoding="utf-8", newline="\n")
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):  # a folder that could not be written cannot be tidied either
            fresh.unlink(missing_ok=True)
        why = error.strerror or type(error).__name__
        raise OutputError(Fault(str(path), f"the page cannot be written there ({why})",
                                next_step="Give a folder that can be written, with room for it.")
                          ) from error  # fmt: skip
    return path


def build_page(release: Release, *, title: str) -> str:
    """The page as text: the same release and title give the same bytes."""
    topics = build_topics(release)
    study = release.protocol.study
    style, script = _template("explore.css"), _template("explore.js")
    policy = (f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
              "base-uri 'none'; form-action 'none'")  # fmt: skip
    return _filled(_template("explore.html"), {
        "policy": policy,
        "style": style,
        "script": script,
        "defs": draw_defs(),
        "title": html.escape(title),
        "study": html.escape(study.title),
        "question": html.escape(study.plain_question),
        "banner": f'<p class="banner">{html.escape(SIMULATED)}</p>' if study.synthetic else "",
        "service": html.escape(service_short(study)),
        "plan": release.protocol.digest[:12],
        "ladder": "".join(f"<li>{html.escape(text)}</li>" for text in LADDER.values()),
        "choices": _json(_choices(topics)),
        "contents": _contents(topics),
        "answers": "".join(_topic(topic) for topic in topics) or "<p>This release holds nothing to look at.</p>",
    })  # fmt: skip


def address(topic: Topic, who: str, when: str) -> str:
    """The part of a link after the #: `going-back.side-by-side.30-days-after`."""
    return f"{topic.key}.{who}.{when}"


# ---- choices ------------------------------------------------------------------------------------


def _choices(topics: tuple[Topic, ...]) -> list[dict]:
    """What the three lists offer; whatever has no number says so in the list."""
    return [
        {"key": topic.key, "label": topic.label, "group": GROUPS[topic.group], "whos": [
            {"key": who.choice.key, "label": who.choice.label, "whens": [
                {"key": when.key, "id": address(topic, who.choice.key, when.key),
                 "label": _option(when.label, topic.answers[who.choice.key, when.key])}
                for when in who.whens
            ]}
            for who in topic.whos
        ]}
        for topic in topics
    ]  # fmt: skip


def _option(label: str, answer: Answer) -> str:
    said = SHORT[answer.standing]
    return f"{label}: {said}" if said else label


def _contents(topics: tuple[Topic, ...]) -> str:
    parts = []
    for group in dict.fromkeys(t.group for t in topics):
        links = "".join(f'<li><a href="#topic-{t.key}">{html.escape(t.label)}</a></li>' for t in topics
                        if t.group == group)  # fmt: skip
        parts.append(f"<h3>{html.escape(GROUPS[group])}</h3><ul>{links}</ul>")
    return "".join(parts)


# ---- answers ------------------------------------------------------------------------------------


def _topic(topic: Topic) -> str:
    articles = "".join(
        _article(topic, who.choice.key, when.key, topic.answers[who.choice.key, when.key])
        for who in topic.whos for when in who.whens
    )  # fmt: skip
    return (f'<section class="topic" id="topic-{topic.key}" aria-labelledby="topic-{topic.key}-name">'
            f'<h2 class="topic-name" id="topic-{topic.key}-name">{html.escape(topic.label)}</h2>'
            f"{articles}</section>")  # fmt: skip


def _article(topic: Topic, who: str, when: str, answer: Answer) -> str:
    name = address(topic, who, when)
    said = f"{topic.label}. {answer.who}. {answer.when}. {' '.join(answer.sentences)}"
    blocks = [
        f'<p class="standing {answer.standing}">{html.escape(STANDINGS[answer.standing])}</p>',
        f'<p class="planned">{html.escape(answer.planned)}</p>' if answer.planned else "",
        f'<h3><span class="who">{html.escape(answer.who)}'
        f'</span> <span class="when">{html.escape(answer.when)}</span></h3>',
        f'<p class="note">{html.escape(topic.note)}</p>' if topic.note else "",
        '<div class="said">' + "".join(f"<p>{inline(s)}</p>" for s in answer.sentences) + "</div>",
        _pair(answer.pair) if answer.pair else "",
        _span(answer) if answer.span else "",
        _trend(answer.trend, answer) if answer.trend else "",
        _sure(answer),
        _limits(answer),
        _table(answer.rows) if answer.rows else "",
        f'<p class="link"><a href="#{name}">Link to this answer</a> '
        f'<button type="button" class="copy" hidden>Copy the link</button></p>',
    ]
    return (f'<article id="{name}" data-said="{html.escape(said.replace("**", ""))}">'
            f"{''.join(blocks)}</article>")  # fmt: skip


def inline(text: str) -> str:
    """Text for the page; what is between two stars is strong."""
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(text))


def _pair(pair: Pair) -> str:
    arrays = "".join(
        f'<div class="one"><p class="name">{html.escape(a.title)}</p>{draw_array(a, pair)}'
        f'<p class="count">{html.escape(a.words)}</p></div>'
        for a in pair.arrays
    )  # fmt: skip
    used = [mark for mark in MARKS if mark == "full" or any(getattr(a, mark) for a in pair.arrays)]
    marks = "".join(f"<li>{draw_key(mark)} {html.escape(getattr(pair, mark))}</li>" for mark in used)
    look = "grid" if any(a.none or a.whole > _MOST_IN_A_ROW for a in pair.arrays) else "rows"
    return f'<div class="pair {look}">{arrays}</div><ul class="key">{marks}</ul>'


def _span(answer: Answer) -> str:
    low, best, high = answer.span.words
    holds = answer.span.low <= answer.span.null <= answer.span.high
    alt = (f"Picture of the range of doubt. It goes from {low} to {high}. Our best answer is {best}. "
           f"{starts(answer.span.none)} is {'inside' if holds else 'outside'} it.")  # fmt: skip
    right = f" {times_right(answer.span.level)}" if math.isfinite(answer.span.level) else ""
    return (f'<h4>The range of doubt</h4><p>The true answer may lie anywhere on the thick line.{right}</p>'
            f"{draw_span(answer.span, alt=alt)}")  # fmt: skip


def starts(text: str) -> str:
    return text[:1].upper() + text[1:]


def _trend(trend: Trend, answer: Answer) -> str:
    alt = f"Lines over time: {trend.title}. {' '.join(answer.sentences)} The table has every number."
    key = "".join(f"<li>{draw_line_key(i)} {html.escape(line.name)}</li>" for i, line in enumerate(trend.lines))
    return (f'<p class="axis">{html.escape(trend.title)}</p>{draw_trend(trend, alt=alt)}'
            f'<ul class="key">{key}</ul>')  # fmt: skip


def _sure(answer: Answer) -> str:
    """The rung of the ladder among the others, and why not higher."""
    if answer.certainty is None:
        return ""
    parts = ["<h4>How sure are we?</h4>"]
    if answer.certainty in _RUNGS:
        steps = "".join(
            f'<li aria-current="true">{starts(LADDER_SHORT[rung])}<span class="here">: we are here</span></li>'
            if rung == answer.certainty else f"<li>{starts(LADDER_SHORT[rung])}</li>" for rung in _RUNGS
        )  # fmt: skip
        parts.append(f'<ol class="ladder">{steps}</ol>')
    parts.append(f"<p>{' '.join(inline(s) for s in answer.sure)}</p>")
    if answer.weak:
        lines = "".join(f"<li>{inline(full_stop(w))}</li>" for w in answer.weak)
        parts.append(f"<p>Why we are not surer:</p><ul>{lines}</ul>")
    if answer.worst:
        parts.append(f'<p class="worst">{inline(answer.worst)}</p>')
    return "".join(parts)


def _limits(answer: Answer) -> str:
    lines = "".join(f"<li>{inline(full_stop(line))}</li>" for line in answer.limits)
    return f'<div class="limits"><h4>What this cannot tell you</h4><ul>{lines}</ul></div>'


def _table(rows: tuple[Row, ...]) -> str:
    spread = any(row.spread for row in rows)
    names = ("What", "Number", "Range of doubt")[: 3 if spread else 2]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(_row(row, spread=spread) for row in rows)
    return (f'<details class="numbers" open><summary>The same numbers as a table</summary>'
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></details>")  # fmt: skip


def _row(row: Row, *, spread: bool) -> str:
    source = f' data-number="{html.escape(row.id)}" data-value="{row.value:.10g}"' if row.id else ""
    last = f"<td>{html.escape(row.spread)}</td>" if spread else ""
    return f'<tr{source}><th scope="row">{html.escape(row.what)}</th><td>{html.escape(row.number)}</td>{last}</tr>'


# ---- the file -----------------------------------------------------------------------------------


def _template(name: str) -> str:
    return (files("evalkit.report") / "templates" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(content: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _filled(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found.group(1)], template)
