"""How to cite evalkit, and the protocol of a study by its digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import evalkit

if TYPE_CHECKING:
    from evalkit.core.protocol import Protocol

Format = Literal["text", "bibtex"]
AUTHORS = "The evalkit authors"
TITLE = "evalkit: honest evaluation of integrated mental-health services"
LICENCE = "MIT"


def cite_software(style: Format = "text") -> str:
    """The citation of this version of evalkit; there is no DOI and no address yet, so none is given."""
    version = evalkit.__version__
    if style == "text":
        return f"{AUTHORS}. {TITLE}. Version {version} [computer software]. {LICENCE} licence."
    return _entry("software", "evalkit", {
        "author": f"{{{AUTHORS}}}", "title": f"{{evalkit}}: {TITLE.partition(': ')[2]}", "version": version,
        "note": f"Computer software. {LICENCE} licence",
    })  # fmt: skip


def cite_protocol(protocol: Protocol, style: Format = "text") -> str:
    """The citation of a protocol, which its digest tells from every other; it says that no date of writing is kept."""
    study = protocol.study
    if style == "text":
        return (f"Protocol of the evaluation: {study.title}. Written for evalkit {evalkit.__version__}. "
                f"SHA-256 {protocol.digest}.")  # fmt: skip
    return _entry("misc", f"protocol_{protocol.digest[:8]}", {
        "title": f"Protocol of the evaluation: {study.title}",
        "howpublished": f"Protocol for {{evalkit}} {evalkit.__version__}", "note": f"SHA-256 {protocol.digest}",
    })  # fmt: skip


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    """A BibTeX entry; what TeX would take for its own in a title is written so that it does not."""
    lines = [f"  {name} = {{{_escaped(value)}}}" for name, value in fields.items()]
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}"


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "&%$#_" else c for c in text)
