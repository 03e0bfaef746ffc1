"""One writer at a time: of two commands that read the record and write it back, one would lose what the other did."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evalkit.core.errors import Fault, OutputError
from evalkit.core.files import cannot_write

LOCK = ".writing"
PATIENCE = 10.0  # seconds
_PAUSE = 0.05


@contextmanager
def only_writer(folder: Path | str, *, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the record for as long as it is read and written; wait a little for another command to be done.

    Raises
    ------
    OutputError
        If another command holds it for longer than `patience`, or the folder cannot be written.
    """
    folder = Path(folder)
    lock = folder / LOCK
    there = folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _take(lock, time.monotonic() + patience)
    except OSError as error:
        raise cannot_write(folder, error) from None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        if not there:
            with suppress(OSError):  # what was written stays: only an empty folder can be taken away
                folder.rmdir()


def _take(lock: Path, until: float) -> None:
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            if time.monotonic() >= until:
                raise OutputError(Fault(
                    str(lock.parent), "another command is writing there",
                    next_step=f"Wait for it. If none is running, it was broken off: delete {lock.name} in that folder.",
                )) from None  # fmt: skip
            time.sleep(_PAUSE)
        else:
            return
