"""A reader's words inside Markdown: plain text, whatever they look like."""

from __future__ import annotations

import re
from dataclasses import replace

from evalkit.review.record import Comment

_WORDS = ("text", "quote", "name", "reply", "reason", "decided_by", "second", "analysis")
_ANYWHERE = re.compile(r"([\\`*_{}\[\]<>#|~^$@&])")
_FIRST_SIGN = re.compile(r"^([-+=:%(])")
_LIST_MARK = re.compile(r"^(\w{1,9})([.)])")


def plain_markdown(text: str) -> str:
    """Markdown that shows exactly this text: no markup, HTML, link, picture, formula or citation comes of it.

    Signs that mean something to pandoc are escaped, those of lists and tables where a line begins. Lines stay lines.

    >>> print(plain_markdown("1. <b>[x](y)</b> well-known."))
    1\\. \\<b\\>\\[x\\](y)\\</b\\> well-known.
    """
    return "\n".join(_plain_line(line.strip()) for line in text.splitlines())


def _plain_line(line: str) -> str:
    line = _ANYWHERE.sub(r"\\\1", line)
    return _LIST_MARK.sub(r"\1\\\2", _FIRST_SIGN.sub(r"\\\1", line))


def plain_comment(comment: Comment) -> Comment:
    """The comment with all that people wrote in it made safe for Markdown (see `plain_markdown`)."""
    return replace(comment, **{name: plain_markdown(getattr(comment, name)) for name in _WORDS})
