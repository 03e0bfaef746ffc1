"""A reader's words inside Markdown: plain text, whatever they look like."""

from __future__ import annotations

import re

_SIGNS = re.compile(r"([!-/:-@\[-`{-~])")


def plain_markdown(text: str) -> str:
    """Markdown that shows exactly this text: no markup, HTML, link, picture, formula or citation comes of it.

    Every sign of ASCII is escaped (pandoc reads each such escape as the sign itself). Lines stay lines.

    >>> print(plain_markdown("<b>1. [x](y)</b>"))
    \\<b\\>1\\. \\[x\\]\\(y\\)\\<\\/b\\>
    """
    return "\n".join(_SIGNS.sub(r"\\\1", line.strip()) for line in text.splitlines())
