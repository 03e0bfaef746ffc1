"""The command line: thin, so that all it does can be had from Python too."""

from __future__ import annotations

import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import evalkit
from evalkit.cli_cite import cite
from evalkit.cli_release import release
from evalkit.cli_review import review_app
from evalkit.core.errors import EvalkitError

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    name="evalkit",
    help="Evaluate an integrated mental-health service: from event tables to a peer and an academic report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(*, asked: bool) -> None:
    if asked:
        typer.echo(f"evalkit {evalkit.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=lambda asked: _print_version(asked=asked))
    ] = False,
) -> None:
    pass


@app.command()
def evaluate(
    *,
    protocol: Annotated[Path, typer.Option(help="The protocol, a TOML file.")],
    data: Annotated[Path, typer.Option(help="The folder of tables, Parquet or CSV.")],
    out: Annotated[Path, typer.Option(help="The folder to write, replaced in one step at the end.")],
    notebooks: Annotated[Path | None, typer.Option(help="The folder of notebooks. Default: evalkit's own.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="How many notebooks run at once.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from where a failed run stopped.")] = False,
    reviews: Annotated[Path | None, typer.Option(help="The folder of readers' comments and their answers.")] = None,
    earlier: Annotated[Path | None, typer.Option(help="The folder of a release that the same readers have.")] = None,
) -> None:
    """Run the whole evaluation: tables, notebooks, disclosure control, both reports."""
    from evalkit.pipeline import evaluate as run

    written = run(
        protocol, data, out, notebooks=notebooks, jobs=jobs, start="resume" if resume else "anew", reviews=reviews,
        earlier=earlier,
    )  # fmt: skip
    typer.echo(f"The reports are in {written}. Its folder workings/ must not leave the secure environment.")


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="The folder of tables, Parquet or CSV.")],
    protocol: Annotated[Path | None, typer.Option(help="Also hold the tables to this protocol.")] = None,
) -> None:
    """Report on the quality of the tables. Exits with 0, 1 (warnings) or 2 (they cannot be used)."""
    from rich.console import Console

    from evalkit.core.errors import ProtocolError
    from evalkit.core.protocol import load_protocol
    from evalkit.data import check_tables

    held_to, faulty = None, None
    try:
        held_to = load_protocol(protocol) if protocol else None
    except ProtocolError as error:
        faulty = error  # told after the tables, so that all faults come at once
    report = check_tables(folder, held_to)
    report.render(Console())
    if faulty:
        raise faulty
    raise typer.Exit(report.exit_code)


@app.command()
def simulate(
    *,
    settings: Annotated[Path, typer.Option(help="The settings of the world, a TOML file.")],
    out: Annotated[Path, typer.Option(help="The folder to write the tables and their truth to.")],
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed than that of the settings.")] = None,
) -> None:
    """Write a simulated world, its tables and the truth about every estimand."""
    from evalkit.data import data_dictionary_markdown
    from evalkit.simulate import load_settings, write_world

    loaded = load_settings(settings)
    texts = {"DATA_DICTIONARY.md": data_dictionary_markdown()}
    write_world(loaded, out, seed=loaded.world.seed if seed is None else seed, texts=texts)
    typer.echo(f"The world is in {out}.")


@app.command()
def dictionary() -> None:
    """Print the data dictionary: every table, every column, what it may hold."""
    from evalkit.data import data_dictionary_markdown

    typer.echo(data_dictionary_markdown())


app.add_typer(review_app, name="review")
app.command("release")(release)
app.command("cite")(cite)
risk_app = typer.Typer(no_args_is_help=True, help="Use the risk models that an evaluation has made.")
app.add_typer(risk_app, name="risk")


@risk_app.command("discharges")
def risk_discharges(
    *,
    protocol: Annotated[Path, typer.Option(help="The protocol, a TOML file.")],
    data: Annotated[Path, typer.Option(help="The folder of tables, Parquet or CSV.")],
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The first day of discharge wanted.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write, one row a discharge.")],
) -> None:
    """Write what was known of each new discharge on its day, for `evalkit risk predict`."""
    from evalkit.analysis.risk_new import build_new_discharges
    from evalkit.analysis.study import Study
    from evalkit.core.protocol import load_protocol
    from evalkit.data import require_usable

    study = Study(load_protocol(protocol), require_usable(data, None))
    _write_rows(build_new_discharges(study, since=since.date()), out, inputs=(protocol, data))


@risk_app.command("predict")
def risk_predict(
    *,
    model: Annotated[Path, typer.Option(help="The folder of a model, such as workings/risk_models/90_logistic.")],
    protocol: Annotated[Path, typer.Option(help="The protocol that the model was developed for.")],
    discharges: Annotated[Path, typer.Option(help="A CSV or Parquet file, one row a discharge.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write: identifier and risk.")],
    id_column: Annotated[str, typer.Option("--id", help="The column that tells discharges apart.")] = "discharge",
) -> None:
    """Score new discharges with a saved model; data outside its contract are refused."""
    from evalkit.core.protocol import load_protocol
    from evalkit.risk.predict import predict_file

    digest = load_protocol(protocol).digest
    found = predict_file(model, discharges, protocol_digest=digest, id_column=id_column)
    for told in found.checks:
        if told.passed is False:
            typer.echo(f"Check failed: {told.text}", err=True)
    _write_rows(found.risks, out, inputs=(model, protocol, discharges))


def _write_rows(rows: pd.DataFrame, out: Path, *, inputs: tuple[Path, ...]) -> None:
    from evalkit.analysis.risk_new import write_private_csv

    write_private_csv(rows, out, inputs=inputs)
    typer.echo(f"{out} is written. It is about people and must not leave the secure environment.")


def main() -> None:
    """Run the command line. What a user can cause is told in plain words, without a traceback."""
    # A run that is asked to end goes the way of one that fails, so that it ends its notebooks first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app()
    except EvalkitError as error:
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)
