"""The table of attacks holds nothing but noughts, and attacks that succeed where nothing guards."""

from __future__ import annotations

import pytest
from attack_table import MORE, Path, attack_table, render_attacks


@pytest.mark.slow
def test_no_attack_recovers_anything_and_some_would() -> None:
    table = attack_table(range(1), moves=((0, 3),))
    assert [row.name for row in table if row.recovered] == []
    assert all(row.tried_on for row in table)
    assert sum(row.unguarded or 0 for row in table) > 0
    assert render_attacks(table).count("\n") == len(table) + 2


def test_the_tests_that_the_table_names_exist() -> None:
    assert all((Path(__file__).parent / name).is_file() for _, name in MORE)
