"""How evalkit and a protocol are cited, and that CITATION.cff is valid and in step with pyproject.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

import evalkit
from evalkit import citation
from evalkit.cli_cite import cite
from evalkit.core.errors import ProtocolError
from evalkit.core.protocol import load_protocol
from evalkit.report.document import run_pandoc

ROOT = Path(__file__).parents[2]
PROTOCOL = ROOT / "protocols" / "ipsa.toml"
# The keys of the Citation File Format 1.2.0, and those that it asks for.
KEYS = {
    "abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi", "identifiers", "keywords",
    "license", "license-url", "message", "preferred-citation", "references", "repository", "repository-artifact",
    "repository-code", "title", "type", "url", "version",
}  # fmt: skip
NEEDED = {"cff-version", "message", "title", "authors"}
app = typer.Typer()
app.command()(cite)


@pytest.fixture(scope="module")
def cff() -> dict:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_citation_file_is_valid(cff) -> None:
    assert NEEDED <= set(cff) <= KEYS
    assert cff["cff-version"] == "1.2.0"
    assert cff["type"] in ("software", "dataset")
    assert all(isinstance(cff[key], str) and cff[key] for key in ("message", "title", "abstract", "version", "license"))
    assert cff["authors"]
    for author in cff["authors"]:
        assert set(author) <= {"name", "family-names", "given-names", "orcid", "affiliation", "email", "website"}
        assert author.get("name") or author.get("family-names")
    assert len(cff["keywords"]) == len(set(cff["keywords"]))


def test_the_citation_file_says_what_the_package_says(cff) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert str(cff["version"]) == project["version"] == evalkit.__version__
    assert cff["license"] == project["license"] == citation.LICENCE
    assert cff["keywords"] == project["keywords"]
    assert [a["name"] for a in cff["authors"]] == [a["name"] for a in project["authors"]] == [citation.AUTHORS]
    assert cff["title"] == citation.TITLE


def test_the_software_alone_in_words() -> None:
    told = CliRunner().invoke(app, [])
    assert told.exit_code == 0
    assert told.output.strip() == citation.cite_software()
    assert f"Version {evalkit.__version__}" in told.output


def test_the_protocol_is_cited_by_its_whole_digest() -> None:
    told = CliRunner().invoke(app, ["--protocol", str(PROTOCOL)])
    assert load_protocol(PROTOCOL).digest in told.output
    assert len(told.output.strip().splitlines()) == 2


def test_bibtex_is_read_by_citeproc_and_keeps_odd_signs() -> None:
    protocol = load_protocol(PROTOCOL)
    study = protocol.study.model_copy(update={"title": "Mind & Body_2, 100% #1"})
    source = "\n".join([citation.cite_software("bibtex"),
                        citation.cite_protocol(protocol.model_copy(update={"study": study}), "bibtex")])  # fmt: skip
    read = run_pandoc(source, "plain", "bibtex", "--citeproc", "--wrap=none")
    assert "Mind & Body_2, 100% #1" in read
    assert "evalkit authors" in read
    assert read.count("\n\n") <= 2


def test_a_faulty_protocol_prints_no_half_answer(tmp_path) -> None:
    (tmp_path / "p.toml").write_text("study = 1\n")
    told = CliRunner().invoke(app, ["--protocol", str(tmp_path / "p.toml")])
    assert isinstance(told.exception, ProtocolError)
    assert told.output == ""
