"""Print environment.yml, made from the dependencies that pyproject.toml names."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

# What conda-forge calls differently, or splits; a range stays with the first name.
CONDA_NAMES = {
    "duckdb": ("python-duckdb",),
    "ibis-framework": ("ibis-duckdb",),
    "pypandoc_binary": ("pypandoc", "pandoc"),
    "matplotlib": ("matplotlib-base",),
}
# Not on conda-forge as a Python package: its `typst` is the command-line program.
FROM_PIP = ("typst",)


def environment_text(pyproject: Path) -> str:
    """The text of environment.yml for this pyproject.toml."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    named = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    conda, pip = [], []
    for requirement in named:
        name, limits = re.fullmatch(r"([A-Za-z0-9._-]+)(.*)", requirement).groups()
        if name in FROM_PIP:
            pip.append(requirement)
            continue
        first, *others = CONDA_NAMES.get(name, (name,))
        conda += [f"{first}{limits}", *others]
    lines = [
        "# Made from pyproject.toml by `make lock`; change it there. After `conda env create -f environment.yml`:",
        "#   conda activate evalkit && pip install --no-deps --no-build-isolation -e .",
        "name: evalkit",
        "channels:",
        "  - conda-forge",
        "  - nodefaults",
        "dependencies:",
        f'  - "python{project["requires-python"]}"',
        *(f'  - "{item}"' for item in sorted([*conda, "pip"])),
        "  - pip:",
        *(f'      - "{item}"' for item in pip),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(environment_text(Path(__file__).resolve().parents[1] / "pyproject.toml"))
