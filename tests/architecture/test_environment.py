"""pyproject.toml is the one place where dependencies are named: the lock and environment.yml follow it."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from evalkit.pipeline.provenance import environment_versions

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
NAMED = [Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]]
LOCK = (REPOSITORY / "requirements.lock").read_text()


def locked() -> dict[str, tuple[str, int]]:
    """Name to (version, number of hashes) of every requirement of the lock."""
    found = {}
    for block in re.split(r"\n(?=\S)", LOCK):
        if match := re.match(r"([A-Za-z0-9._-]+)==(\S+)", block):
            found[canonicalize_name(match[1])] = (match[2], block.count("--hash=sha256:"))
    return found


@pytest.mark.parametrize("requirement", NAMED, ids=str)
def test_the_lock_satisfies_pyproject(requirement: Requirement) -> None:
    version, _ = locked()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(Version(version))


def test_everything_locked_is_pinned_and_has_a_hash() -> None:
    bare = [line for line in LOCK.splitlines() if re.match(r"[A-Za-z0-9]", line) and "==" not in line]
    assert bare == []
    assert [name for name, (_, hashes) in locked().items() if not hashes] == []


def test_the_lock_names_no_address_and_no_path() -> None:
    without_command = "\n".join(line for line in LOCK.splitlines() if not line.startswith("#    uv pip compile"))
    for word in ("http:", "https:", "file:", "--index", "--find", " @ ", "-e "):
        assert word not in without_command
    assert re.search(r"(?m)^\s*/", LOCK) is None


def test_environment_yml_is_what_pyproject_makes_it() -> None:
    spec = importlib.util.spec_from_file_location("environment", REPOSITORY / ".ci" / "environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.environment_text(REPOSITORY / "pyproject.toml")
    assert (REPOSITORY / "environment.yml").read_text() == made, "run `make lock`"
    for requirement in NAMED:
        first = module.CONDA_NAMES.get(requirement.name, (requirement.name,))[0]
        assert f'"{first}{requirement.specifier}"'.count('"') == 2
        assert re.search(rf'- "{re.escape(first)}[<>=~]', made)


def test_a_run_records_the_version_of_every_dependency() -> None:
    versions = environment_versions()
    named = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert {canonicalize_name(name) for name in versions} == named | {"python"}
    assert all(re.match(r"\d", version) for version in versions.values()), versions
    assert list(versions)[1:] == sorted(list(versions)[1:])


def test_the_version_is_the_same_everywhere() -> None:
    package = (REPOSITORY / "src" / "evalkit" / "__init__.py").read_text()
    citation = (REPOSITORY / "CITATION.cff").read_text()
    assert f'__version__ = "{PROJECT["version"]}"' in package
    assert f"version: {PROJECT['version']}\n" in citation
