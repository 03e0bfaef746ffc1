"""Say what runs: a bar that names it on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar


class Progress(Protocol):
    """What the pipeline tells whoever watches."""

    def started(self, name: str) -> None: ...

    def finished(self, name: str) -> None: ...

    def reused(self, name: str) -> None: ...

    def note(self, text: str) -> None: ...


@contextmanager
def show_progress(total: int, console: Console) -> Iterator[Progress]:
    """A bar of `total` steps where the console is a terminal, one line an event where it is a log."""
    if console.is_terminal and not os.environ.get("CI"):
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bar(*columns, console=console, transient=True) as bar:
            yield _BarProgress(bar, total)
    else:
        yield _LineProgress(console)


class _BarProgress:
    def __init__(self, bar: Bar, total: int) -> None:
        self._bar, self._task = bar, bar.add_task("", total=total)
        self._running: list[str] = []

    def started(self, name: str) -> None:
        self._running.append(name)
        self._show(advance=0)

    def finished(self, name: str) -> None:
        self._running.remove(name)
        self._show(advance=1)

    def reused(self, name: str) -> None:
        self._bar.console.print(f"{name}: finished earlier", highlight=False)
        self._show(advance=1)

    def note(self, text: str) -> None:
        self._bar.console.print(text, highlight=False)

    def _show(self, *, advance: int) -> None:
        self._bar.update(self._task, description=", ".join(self._running), advance=advance, refresh=True)


class _LineProgress:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._since: dict[str, float] = {}

    def started(self, name: str) -> None:
        self._since[name] = time.monotonic()
        self.note(f"{name}: running")

    def finished(self, name: str) -> None:
        self.note(f"{name}: finished after {time.monotonic() - self._since[name]:.0f} s")

    def reused(self, name: str) -> None:
        self.note(f"{name}: finished earlier")

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)
