"""The canonical tables: contracts, reading through ibis on DuckDB, and checks that count, never quote."""

from evalkit.data.contracts import contract_table, data_dictionary_markdown
from evalkit.data.findings import Finding
from evalkit.data.quality import QualityReport, check_tables, require_usable
from evalkit.data.tables import Tables, open_tables

__all__ = [
    "Finding",
    "QualityReport",
    "Tables",
    "check_tables",
    "contract_table",
    "data_dictionary_markdown",
    "open_tables",
    "require_usable",
]
