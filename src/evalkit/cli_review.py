"""`evalkit review`: readers' comments in, answers written, and what is missing before a release."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from evalkit.review.collect import Imported
    from evalkit.review.status import ReviewStatus

review_app = typer.Typer(no_args_is_help=True, help="Store readers' comments, answer them, and say what is missing.")

Reviews = Annotated[Path, typer.Option("--reviews", help="The record of the study, such as reviews/ipsa.")]


@review_app.command("import")
def review_import(
    files: Annotated[list[Path], typer.Argument(help="Files saved by the page, Word files, or forms in CSV.")],
    *,
    reviews: Reviews,
    report: Annotated[Path, typer.Option(help="The output folder whose report was read.")],
    blank_flags: Annotated[
        bool, typer.Option("--blank-flags", help="Take personal data out and store the rest.")
    ] = False,
    accept_flags: Annotated[str, typer.Option(help="Store flagged texts as they are, for this reason.")] = "",
    another_reader: Annotated[
        bool, typer.Option("--another-reader", help="Store a comment that is there already: another reader wrote it.")
    ] = False,
) -> None:
    """Check every file, then store all comments or none. Exits with 1 if one was held back, 2 if a file is refused."""
    from evalkit.review.blocks import load_blocks, load_words
    from evalkit.review.collect import import_comments

    if blank_flags and accept_flags:
        raise typer.BadParameter("take --blank-flags or --accept-flags, not both")
    done = import_comments(
        files, reviews, blocks=load_blocks(report), words=load_words(report), reason=accept_flags,
        flags="blank" if blank_flags else "accept" if accept_flags else "hold",
        same_words="another" if another_reader else "repeated",
    )  # fmt: skip
    _tell_import(done, reviews)
    raise typer.Exit(1 if done.flagged else 0)


@review_app.command("status")
def review_status(*, reviews: Reviews) -> None:
    """List what keeps the report from being released. Exits with 1 while there is anything."""
    from rich.console import Console

    from evalkit.core.errors import Fault, ReviewError
    from evalkit.review.load import load_review
    from evalkit.review.status import review_status as status_of

    if not reviews.is_dir():  # a wrong name must not read as "nothing is missing"
        raise ReviewError(Fault(str(reviews), "there is no such folder", next_step="Is its name written right?"))
    found = status_of(load_review(reviews))
    _tell_status(found, Console())
    raise typer.Exit(1 if found.waiting else 0)


@review_app.command("answer")
def review_answer(
    id: Annotated[str, typer.Argument(help="The comment, such as c0001.")],
    *,
    reviews: Reviews,
    status: Annotated[str, typer.Option(help="accepted, changed, declined or needs_analysis.")],
    reply: Annotated[str, typer.Option(help="What the reader is told, in plain words.")],
    by: Annotated[str, typer.Option(help="Who decided: a role, or a name they like to see in print.")],
    reason: Annotated[str, typer.Option(help="Why, if it is declined.")] = "",
    second: Annotated[str, typer.Option(help="Who else agreed, if it is declined.")] = "",
    changed: Annotated[list[str] | None, typer.Option(help="A block that was changed; once for each.")] = None,
    analysis: Annotated[str, typer.Option(help="The new work, if it needs any.")] = "",
    report: Annotated[
        Path | None, typer.Option(help="The output folder with the changed report, to check ids.")
    ] = None,
) -> None:
    """Write the answer to one comment into its file."""
    from evalkit.core.faults import choice_faults, refuse
    from evalkit.review.blocks import load_blocks
    from evalkit.review.record import STATUSES
    from evalkit.review.save import answer_comment

    refuse(choice_faults("--status", status, [name for name in STATUSES if name != "open"]))
    answered = answer_comment(
        reviews, id, status=status, reply=reply, by=by, reason=reason, second=second, changed=changed or (),
        analysis=analysis, blocks=load_blocks(report) if report else None,
    )  # fmt: skip
    typer.echo(f"{answered.id} is answered: {STATUSES[answered.status]}. It shows in the next report.")
    if changed and not report:
        typer.echo("Note: nobody checked that the changed parts are in the report. With --report they are looked up.")


def _tell_import(done: Imported, reviews: Path) -> None:
    for note in done.notes:
        typer.echo(f"Note: {note}")
    for same in done.repeated:
        typer.echo(f"Repeated: {same.where} is {same.id}, which stays as it is.")
    if done.repeated:
        typer.echo("If another reader wrote the same words, import that file again with --another-reader.")
    for flag in done.flagged:
        typer.echo(f"Not stored: {flag.where} ({flag.report}, {flag.block}) holds: {', '.join(flag.found)}.")
    if done.flagged:
        typer.echo("Read these in their file. Change the words, or import it again with --blank-flags. "
                   'If it is no personal data: --accept-flags "why". Keep the file until then.')  # fmt: skip
    ids = ", ".join(comment.id for comment in done.added) or "none"
    typer.echo(f"Stored in {reviews}: {ids}. A person should read each before it is answered.")


def _tell_status(found: ReviewStatus, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    if found.waiting:
        table = Table()
        for name in ("Comment", "Block", "Kind", "First words", "Missing before release"):
            table.add_column(name, overflow="fold")
        for row in found.waiting:
            cells = (row.id, f"{row.report}/{row.block}", row.kind, row.words, ", ".join(row.missing))
            table.add_row(*(escape(cell) for cell in cells))
        console.print(table)
    said = ", ".join(f"{label}: {count}" for label, count in found.counts.items())
    examples = sum(1 for row in found.rows if row.id != "not stored") - sum(found.counts.values())
    console.print(escape(said) if said else "No reader has commented yet.")
    if examples:
        console.print(f"Examples by the makers of evalkit, counted nowhere: {examples}.")
    if found.taken_out:
        console.print(f"Taken out of the record: {', '.join(found.taken_out)}. The report says so.")
    count = len(found.waiting)
    console.print("Nothing is missing." if not count else f"{count} still to answer.")
