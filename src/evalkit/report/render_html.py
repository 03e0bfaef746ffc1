"""The report as one HTML file that holds everything it needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from evalkit.report.comments import SCRIPT_PLACE, Change, page_variables
from evalkit.report.document import Document, run_pandoc
from evalkit.report.tree import shared_arguments, titled, with_top_level


def write_html(document: Document, media: Path, templates: Path, *, version: int, changes: Sequence[Change]) -> Path:
    """Write the page; `changes` are the blocks that it lists as changed, each with its label."""
    out = media / "report.html"
    script = (templates / "comments.js").read_text(encoding="utf-8")
    variables = page_variables(document, script=script, version=version, changes=changes)
    source = titled(document, with_top_level(document.tree["blocks"], 2))
    run_pandoc(
        source, "html5", "json", "--standalone", "--embed-resources", "--mathml", "--toc", "--toc-depth=2",
        f"--template={templates / 'report.html'}", f"--css={templates / 'report.css'}",
        f"--css={templates / 'comments.css'}", f"--variable-json=comments:{variables}",
        *shared_arguments(media), out=out,
    )  # fmt: skip
    text = out.read_text(encoding="utf-8")
    text = _with_reachable_parts(text).replace(SCRIPT_PLACE, f"<script>{script}</script>")
    out.write_text(text, encoding="utf-8")
    return out


def _with_reachable_parts(text: str) -> str:
    """Tables with the scopes that screen readers ask for; tables and formulas that scroll, reached by keyboard.

    Pandoc writes neither; a table made to scroll by itself would lose its meaning as a table.
    """
    for part, scope in (("thead", "col"), ("tbody", "row")):
        body = re.compile(rf"(<{part}>.*?</{part}>)", re.DOTALL)
        header = re.compile(r"<th(?=[ >])")
        text = body.sub(lambda m, h=header, s=scope: h.sub(f'<th scope="{s}"', m.group(1)), text)
    text = text.replace('<math display="block"', '<math display="block" tabindex="0"')
    text = re.sub(r"<table(?=[ >])", '<div class="scroll" tabindex="0"><table', text)
    return text.replace("</table>", "</table></div>")
