"""`evalkit cite`: how to cite the software, and a study's protocol with its digest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evalkit.citation import Format, cite_protocol, cite_software


def cite(
    *,
    protocol: Annotated[Path | None, typer.Option(help="Also cite this protocol, a TOML file, by its digest.")] = None,
    style: Annotated[Format, typer.Option("--format", help="Words for a list of references, or BibTeX.")] = "text",
) -> None:
    """Print how to cite evalkit and, with --protocol, the protocol of a study."""
    from evalkit.core.protocol import load_protocol

    found = load_protocol(protocol) if protocol else None
    typer.echo(cite_software(style))
    if found:
        typer.echo(cite_protocol(found, style))
