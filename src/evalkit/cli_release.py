"""`evalkit release`: one folder for the output checker, or every reason why there can be none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def release(
    out: Annotated[Path, typer.Argument(help="The output of `evalkit evaluate`, with its workings/.")],
    *,
    to: Annotated[Path, typer.Option(help="The folder to write, or an earlier bundle to replace.")],
    reviews: Annotated[Path | None, typer.Option(help="The record of comments, such as reviews/ipsa.")] = None,
    earlier: Annotated[Path | None, typer.Option(help="The folder of the release that readers have.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Record this as the next released version in the reviews.")
    ] = False,
) -> None:
    """Check that nothing is left open and nothing leaks, and put what may leave into one folder for the checker."""
    from evalkit.core.errors import Fault, ParameterError
    from evalkit.disclose import load_release
    from evalkit.pipeline.bundle import make_bundle, record_release
    from evalkit.review.load import load_review

    if record and reviews is None:
        raise ParameterError(Fault("--record", "there is no record to write to", next_step="Name it with --reviews."))
    before = load_release(earlier) if earlier else None
    bundle = make_bundle(out, to, review=load_review(reviews or ""), earlier=before)
    if record and reviews is not None:
        version = record_release(out, reviews)
        typer.echo(f"Version {version.number} is recorded in {reviews}.")
    typer.echo(f"{bundle.folder} is ready for the output checker: {len(bundle.files)} files. Start with READ_FIRST.md.")
