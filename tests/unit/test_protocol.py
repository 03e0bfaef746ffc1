"""A protocol is frozen, digested, and refused with every fault at once."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from pydantic import ValidationError

from evalkit.core.errors import ProtocolError
from evalkit.core.protocol import Protocol, load_protocol, protocol_from_text

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "protocols/ipsa.toml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return load_protocol(ROOT / "protocols/ipsa.toml")


def faults_of(text: str) -> list[str]:
    with pytest.raises(ProtocolError) as caught:
        protocol_from_text(text)
    assert caught.value.exit_code == 2
    return [fault.text for fault in caught.value.faults]


def test_ipsa_says_what_was_decided(protocol):
    assert protocol.areas.treated == ("Lambeth",)
    assert len(protocol.areas.all) == 33
    assert protocol.dates.baseline.start == dt.date(2014, 1, 1)
    assert protocol.dates.baseline.end == dt.date(2015, 1, 1)  # the quarter of anticipation is outside
    assert [o.key for o in protocol.outcomes if o.role == "primary"] == [
        "readmission_30d", "readmission_90d", "readmission_365d", "residential_entry", "rehab_admission",
        "residential_discharge", "public_cost",
    ]  # fmt: skip
    assert {c.relative_change for c in protocol.claims if c.outcome} >= {-0.60, -0.67, 0.30, -0.50, -0.23}
    assert all(claim.source for claim in protocol.claims)


def test_nothing_can_be_changed_after_loading(protocol):
    with pytest.raises(ValidationError, match="frozen"):
        protocol.study.seed = 1


def test_the_digest_is_of_the_content_not_of_the_layout(protocol):
    spaced = TEXT.replace("\n\n", "\n\n# a remark\n\n")
    assert protocol_from_text(spaced).digest == protocol.digest
    assert protocol_from_text(TEXT.replace("seed = 20150401", "seed = 20150402")).digest != protocol.digest


def test_only_what_is_listed_is_planned(protocol):
    assert protocol.is_planned("residential_entry.rate_ratio", "poisson_did_permutation")
    assert protocol.is_planned("residential_entry.rate_ratio", "poisson_did_near_areas")
    assert protocol.is_planned("residential_entry.rate_ratio", "before_after")
    assert not protocol.is_planned("residential_entry.rate_ratio", "synthetic_control_conformal")
    assert not protocol.is_planned("suicide.rate_ratio", "poisson_did_permutation")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('better = "higher"', 'beter = "higher"', 'unknown key.*Did you mean "better"'),
        ("[areas]", "[aeras]", 'Did you mean "areas"'),
        ("seed = 20150401", 'seed = "april"', "valid integer.*april"),
        ("adoption = 2015-04-01", "adoption = 2011-04-01", "adoption must fall after baseline_start"),
        ("end = 2018-07-01", "end = 2014-06-01", "adoption must fall after baseline_start and before end"),
        ("study_start = 2012-04-01", "study_start = 2012-04-02", "first of a month"),
        ("anticipation_days = 90", "anticipation_days = 900", "leave no baseline"),
        ('comparators = ["Croydon"', 'comparators = ["Lambeth", "Croydon"', "named twice: Lambeth"),
        ('outcome = "rehab_admission"', 'outcome = "rehab_admissions"', 'Did you mean "rehab_admission"'),
        ('key = "public_cost"', 'key = "residential_entry"', "outcome key used twice"),
        ('event = "ward_admission"\nward_types = ["rehab"]', 'event = "ward_admission"', "needs `ward_types`"),
        ('profile = "strict"', 'profile = "lax"', "strict"),
        ("[study]", "[study", "this is not TOML"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(old, new, said):
    import re

    assert old in TEXT
    assert any(re.search(said, fault) for fault in faults_of(TEXT.replace(old, new, 1)))


def test_all_mistakes_come_at_once():
    broken = TEXT.replace("seed = 20150401", "sede = 1").replace('profile = "strict"', 'profle = "strict"')
    assert len(faults_of(broken)) >= 3  # two unknown keys, one that is now missing


@pytest.mark.parametrize(("content", "said"), [(None, "no such file"), (b"title = '\xff\xfe'", "not UTF-8")])
def test_a_file_that_cannot_be_read_is_said(tmp_path, content, said):
    path = tmp_path / "p.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProtocolError, match=said):
        load_protocol(path)


def test_a_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "p.toml"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert load_protocol(path).study.key == "ipsa"
