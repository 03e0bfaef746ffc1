"""Citations of a report, resolved once for every form it takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from evalkit.report.document import Block, Document, run_pandoc
from evalkit.report.tree import map_blocks


def with_citations(document: Document, bibliography: Path) -> Document:
    """The document with its citations resolved; the bibliography's path stays out of what is written.

    Raises
    ------
    OutputError
        Where a key is cited that the bibliography lacks.
    """
    source = json.dumps(document.tree | {"meta": {}})
    arguments = ("--citeproc", f"--bibliography={bibliography}", "--metadata=link-citations:true", "--fail-if-warnings")
    tree = json.loads(run_pandoc(source, "json", "json", *arguments))
    return replace(document, tree=map_blocks(tree, _as_text))


def _as_text(node: Block) -> Block:
    # A citation that is resolved already must not be resolved again by a writer's own means.
    return {"t": "Span", "c": [["", [], []], node["c"][1]]} if node.get("t") == "Cite" else node
