"""Folders replaced in one step: what is there is either the old or the new, never half of each."""

from __future__ import annotations

import shutil
from pathlib import Path

from evalkit.core.errors import Fault, OutputError


def swap_folder(working: Path, folder: Path) -> None:
    """Put the folder `working`, beside it, in the place of `folder`; the old one comes back if that fails."""
    old = working.with_name(f"{working.name}-old")
    if folder.exists():
        folder.rename(old)
    try:
        working.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def cannot_write(folder: Path, error: OSError) -> OutputError:
    """The refusal to raise where a folder cannot be written."""
    why = error.strerror or type(error).__name__
    return OutputError(Fault(str(folder), f"it cannot be written ({why})", next_step="Nothing there was touched."))
