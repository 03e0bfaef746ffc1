"""What a run was made from: digests of code, notebooks and data, and the versions it ran on."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from importlib import metadata
from pathlib import Path

import nbformat

import evalkit
from evalkit.core.errors import EvalkitError, Fault
from evalkit.pipeline.plan import Plan, notebook_path


def package_folder() -> Path:
    """The folder that `evalkit` was imported from."""
    return Path(evalkit.__file__).resolve().parent


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def notebook_digest(path: Path) -> str:
    """SHA-256 of a notebook's cells. Its stored outputs do not count: they are made, not written."""
    notebook = nbformat.read(path, as_version=4)
    cells = [[cell.cell_type, cell.source, sorted(cell.metadata.get("tags", []))] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells, ensure_ascii=True).encode()).hexdigest()


def package_digest() -> str:
    """SHA-256 over the names and contents of the package's files."""
    root = package_folder()
    total = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        total.update(f"{path.relative_to(root).as_posix()} {file_digest(path)}\n".encode())
    return total.hexdigest()


def code_digest(notebooks: Path, plan: Plan) -> str:
    """SHA-256 over the package and the sources of the plan's notebooks."""
    total = hashlib.sha256(package_digest().encode())
    for name in plan.notebooks:
        total.update(f"{name} {notebook_digest(notebook_path(notebooks, name))}\n".encode())
    return total.hexdigest()


def environment_versions() -> dict[str, str]:
    """Versions of Python and of the packages that evalkit itself names, by name in alphabetical order.

    A package that is present under another name (conda-forge splits some) is recorded as such.
    """
    versions = {"python": platform.python_version()}
    try:
        requirements = metadata.requires("evalkit") or []
    except metadata.PackageNotFoundError:
        raise EvalkitError(
            Fault("environment", "evalkit is not installed here, so its versions cannot be recorded",
                  next_step="Run `make setup`.")
        ) from None  # fmt: skip
    for name in sorted(re.split(r"[^A-Za-z0-9._-]", text)[0] for text in requirements if "extra ==" not in text):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "installed under another name"
    return versions
