"""Make a world in memory or on disk: canonical tables and the truth about them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from evalkit.core.errors import Fault, OutputError
from evalkit.core.files import cannot_write, swap_folder
from evalkit.simulate.blocks import Block, simulate_blocks
from evalkit.simulate.pathways import VALUED
from evalkit.simulate.settings import WorldSettings
from evalkit.simulate.tables import person_tables, world_tables
from evalkit.simulate.truth import Counts, summarise

DICTIONARY = "DATA_DICTIONARY.md"
README = """# A simulated world: {name}

Nobody in these tables exists. They were made by `evalkit simulate` from settings (digest `{digest}`) and the
seed {seed}, and come out byte for byte the same from them. `data/synthetic/settings/` says where each parameter
comes from: verified in a source, remembered, or assumed.

- `*.parquet`: the canonical tables. People's records cover {places}; `area_counts` covers {n_areas} areas.
- `truth.json`: what the alliance did to this very cohort, by estimand. Each person lived twice with the same
  draws, with the alliance and without it. Keys ending in `.att` weigh every discharge alike; the others as the
  protocol's contrast has it (overlap weights for readmission).
- `world.json`: sizes, the seed, and the counts behind the truth.

The tables show the world with the alliance. It holds, on purpose, what misleads: regression to the mean (people
join the register in a bad period), confounded selection into the programme, other people in {treated} than
elsewhere, a front door of its own from {front_door}, a ward that closes on {ward_closes}, use that moves to other
beds, a national trend, deaths, and assessments missing more often when people are worse.

The budget is {per_person} pounds for each person on the register of {treated}: that is 12.2 million for 520
people, as in the alliance's own target, and scales with the world. `people.area` is the borough responsible when a
person joined the register; `residence` has every borough since. A person who leaves London is followed no longer.
"""


@dataclass(frozen=True)
class World:
    """`tables` by name as data frames in canonical columns; `truth` by estimand key; `about` sizes and seed."""

    tables: dict[str, pd.DataFrame]
    truth: dict[str, float]
    about: dict[str, object]


def simulate_world(settings: WorldSettings, *, seed: int) -> World:
    """Make a world in memory.

    Returns tables with dates as `datetime64[s]`, nullable integers as `Int64` and booleans as `boolean`.
    """
    sums = _Sums()
    parts: dict[str, list[pa.Table]] = {}
    for block in simulate_blocks(settings, seed=seed):
        sums.add(block)
        if block.people.size:
            for name, table in person_tables(settings, block).items():
                parts.setdefault(name, []).append(table)
    tables = {name: pa.concat_tables(found) for name, found in parts.items()}
    tables |= world_tables(settings, sums.counts)
    frames = {name: _frame(table) for name, table in tables.items()}
    rows = {name: table.num_rows for name, table in tables.items()}
    return World(frames, sums.truth(settings), sums.about(settings, seed, rows))


def write_world(
    settings: WorldSettings, folder: Path | str, *, seed: int, texts: Mapping[str, str] | None = None
) -> None:
    """Write a world as a folder of Parquet tables with `truth.json`, `world.json` and `README.md`.

    People are simulated and written block by block, so memory does not grow with the world. The same
    settings and seed give the same bytes. `texts` are further files to write beside the tables, name to
    content; a data dictionary that stands in the folder is kept. The folder is replaced as a whole
    once everything is written.

    Raises
    ------
    OutputError
        If the folder holds files that are not a world's, or cannot be written. It is then untouched.
    """
    folder, texts = Path(folder), dict(texts or {})
    _refuse_other_files(folder, texts)
    if (folder / DICTIONARY).is_file():
        texts.setdefault(DICTIONARY, (folder / DICTIONARY).read_text(encoding="utf-8"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise cannot_write(folder, error) from None
    try:
        _write_files(settings, working, seed, texts)
        # The temporary folder was made for this user alone; a world is for everybody to read.
        working.chmod(0o755)
        swap_folder(working, folder)
    except OSError as error:
        raise cannot_write(folder, error) from None
    finally:
        shutil.rmtree(working, ignore_errors=True)


class _Sums:
    """What is added up over the blocks."""

    def __init__(self) -> None:
        self.blocks: list[tuple[Counts, Counts, Counts]] = []
        self.readmissions: list[dict[str, np.ndarray]] = []
        self.costs: list[np.ndarray] = []
        self.state_days: list[np.ndarray] = []
        self.home_days: list[np.ndarray] = []
        self.enrolled = 0

    def add(self, block: Block) -> None:
        three = (block.counts, block.treated_with, block.treated_without)
        if self.blocks:
            three = tuple(a + b for a, b in zip(self.blocks.pop(), three, strict=True))
        self.blocks.append(three)
        self.readmissions.append(block.readmissions)
        self.costs.append(block.costs)
        self.state_days.append(block.state_days)
        self.home_days.append(block.home_days)
        self.enrolled += len(np.unique(block.lives.episodes.person))

    @property
    def counts(self) -> Counts:
        return self.blocks[0][0]

    def truth(self, settings: WorldSettings) -> dict[str, float]:
        readmissions = {k: np.concatenate([part[k] for part in self.readmissions]) for k in self.readmissions[0]}
        costs, state_days = np.concatenate(self.costs), np.concatenate(self.state_days)
        home = np.concatenate(self.home_days).mean(axis=0) if len(costs) else np.full((len(VALUED), 2), np.nan)
        home_days = dict(zip(VALUED, home[:, 0] - home[:, 1], strict=True))
        return summarise(settings, *self.blocks[0][1:], readmissions, costs, state_days, home_days)

    def about(self, settings: WorldSettings, seed: int, rows: dict[str, int]) -> dict[str, object]:
        costs = np.concatenate(self.costs)
        mean = costs[:, 0].mean(axis=0) if len(costs) else np.full(2, np.nan)
        return {
            "name": settings.world.name,
            "seed": seed,
            "settings_digest": settings.digest,
            "rows": dict(sorted(rows.items())),
            "treated_area": {
                "enrolled_people": self.enrolled,
                "index_discharges_after_adoption": sum(len(part["day"]) for part in self.readmissions),
                "people_in_the_cost_cohort": len(costs),
                "cost_per_person_quarter_with": round(float(mean[0]), 2),
                "cost_per_person_quarter_without": round(float(mean[1]), 2),
            },
        }


def _write_files(settings: WorldSettings, working: Path, seed: int, texts: dict[str, str]) -> None:
    sums, rows = _Sums(), dict[str, int]()
    with ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        for block in simulate_blocks(settings, seed=seed):
            sums.add(block)
            if not block.people.size:
                continue
            for name, table in person_tables(settings, block).items():
                if name not in writers:
                    writers[name] = stack.enter_context(_writer(working / f"{name}.parquet", table.schema))
                writers[name].write_table(table)
                rows[name] = rows.get(name, 0) + table.num_rows
        for name, table in world_tables(settings, sums.counts).items():
            with _writer(working / f"{name}.parquet", table.schema) as writer:
                writer.write_table(table)
            rows[name] = table.num_rows
    _write_json(working / "truth.json", sums.truth(settings))
    _write_json(working / "world.json", sums.about(settings, seed, rows))
    for name, text in {"README.md": _readme(settings, seed), **texts}.items():
        (working / name).write_text(text, encoding="utf-8", newline="\n")


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # No schema metadata and no statistics of the machine: the bytes depend on the content alone.
    return pq.ParquetWriter(path, schema, compression="zstd", compression_level=12, store_schema=False)


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")


def _readme(settings: WorldSettings, seed: int) -> str:
    areas = settings.areas
    return README.format(
        name=settings.world.name,
        digest=settings.digest[:12],
        seed=seed,
        places=", ".join((areas.treated, *areas.comparators)),
        n_areas=len(areas.people),
        treated=areas.treated,
        front_door=settings.dates.front_door.isoformat(),
        ward_closes=settings.dates.ward_closes.isoformat(),
        per_person=f"{settings.money.budget_per_person_gbp:,.0f}",
    )


def _refuse_other_files(folder: Path, texts: Mapping[str, str]) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(Fault(str(folder), "this is a file, not a folder", next_step="Name another folder."))
    if not folder.exists():
        return
    ours = {"truth.json", "world.json", "README.md", DICTIONARY, *texts}
    is_world = (folder / "world.json").is_file()
    other = sorted(p.name for p in folder.iterdir() if not (p.name in ours or (is_world and p.suffix == ".parquet")))
    if other:
        raise OutputError(
            Fault(
                str(folder),
                f"it holds files that are not a simulated world's: {', '.join(other[:5])}",
                next_step="Name an empty folder; nothing there was touched.",
            )
        )


def _frame(table: pa.Table) -> pd.DataFrame:
    """Arrow to pandas in the types in which tables are read."""
    columns: dict[str, pd.Series] = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_date(field.type):
            columns[field.name] = pd.Series(column.cast(pa.timestamp("s")).to_numpy())
        elif pa.types.is_boolean(field.type):
            columns[field.name] = column.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get)
        elif pa.types.is_integer(field.type):
            as_nullable = column.null_count > 0 or field.name == "imd_decile"
            kind = {pa.int64(): pd.Int64Dtype()}.get if as_nullable else None
            columns[field.name] = column.to_pandas(types_mapper=kind)
        else:
            columns[field.name] = column.to_pandas()
    return pd.DataFrame(columns)
