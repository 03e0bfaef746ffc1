"""The settings of the other worlds differ from the default ones in what they say, and in nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.core.errors import ParameterError
from evalkit.simulate import load_settings, simulate_world

FOLDER = Path(__file__).parents[2] / "data" / "synthetic" / "settings"
EFFECTS = {"rehab_factor", "out_of_area_share", "acute_stay_factor", "entry_factor", "readmission_factor",
           "discharge_factor"}  # fmt: skip


def changed(name: str) -> dict[str, set[str]]:
    """The entries of each section in which a world differs from the default one, but for its name and seed."""
    base, other = (load_settings(FOLDER / f"{n}.toml").model_dump() for n in ("ipsa", name))
    found = {s: {k for k in base[s] if base[s][k] != other[s][k]} - {"name", "seed"} for s in base}
    return {section: keys for section, keys in found.items() if keys}


def test_each_world_changes_what_it_says():
    money = {"treated_price_change", "budget_actual"}
    assert changed("none") == {"alliance": EFFECTS, "money": money}
    assert changed("harm") == {"alliance": EFFECTS - {"out_of_area_share"}, "money": money}
    assert changed("little") == {"world": {"scale"}}


def test_in_the_world_of_no_effect_nothing_happens_to_anybody_and_in_the_world_of_harm_it_does():
    scale = {"scale": 0.15}
    none, harm = (load_settings(FOLDER / f"{n}.toml").changed(world=scale) for n in ("none", "harm"))
    truth = simulate_world(none, seed=1).truth
    nil = {key: value for key, value in truth.items() if "cost" not in key and "valued" not in key}
    for key in ("rehab_admission", "residential_entry", "rehab_ward_days", "acute_ward_days", "residential_discharge"):
        assert nil[f"{key}.rate_ratio"] == 1.0
    assert all(value == 0 for key, value in nil.items() if key.startswith("readmission"))
    hurt = simulate_world(harm, seed=1).truth
    assert hurt["rehab_admission.rate_ratio"] > 1.1
    assert hurt["residential_entry.rate_ratio"] > 1.1
    assert hurt["readmission_365d.risk_difference"] > 0


def test_in_the_world_of_too_few_about_a_hundred_people_are_counted():
    settings = load_settings(FOLDER / "little.toml")
    people = simulate_world(settings, seed=settings.world.seed).tables["people"]
    assert 80 <= len(people) <= 120


def test_a_file_that_is_like_none_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text('like = "nowhere.toml"\n[world]\nname = "a"\n')
    with pytest.raises(ParameterError, match="no such file"):
        load_settings(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text(f'like = "{FOLDER / "ipsa.toml"}"\n[alliance]\nrehab_facter = 2.0\n')
    with pytest.raises(ParameterError, match="rehab_factor"):
        load_settings(tmp_path / "b.toml")
