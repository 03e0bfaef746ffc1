"""The one way out: results go in, a `Release` comes out, and reports read nothing else."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import InitVar, asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from evalkit.core.errors import DisclosureError, Fault, OutputError
from evalkit.core.protocol import Protocol
from evalkit.core.result import GLOSSARY, Results
from evalkit.disclose.chosen import align_changes
from evalkit.disclose.earlier import Past, keeps, read_past, tell_counts
from evalkit.disclose.earlier_rows import Beside, restore_kept, tell_beside
from evalkit.disclose.policy import Policy
from evalkit.disclose.risk import check_risk, trim_curves
from evalkit.disclose.rows import check_kinds, coarsen, rule_on_rows
from evalkit.disclose.suppress import Rule, Ruling, suppress_counts
from evalkit.disclose.texts import check_texts

RESULTS_FILE = "results.parquet"
MANIFEST_FILE = "manifest.json"
PROVENANCE_KEYS = ("evalkit_version", "data_digest", "tables", "code_digest", "environment", "notebooks", "origins")
_PERHAPS_KEYS = ("notebooks", "origins")
_MANIFEST_KEYS = (
    "evalkit_version", "protocol", "protocol_digest", "data_digest", "tables", "code_digest", "environment",
    "profile", "suppressed", "counts", "files",
)  # fmt: skip
_FROM_THE_GATE = object()


@dataclass(frozen=True)
class Release:
    """Results that passed disclosure control, with their manifest and protocol.

    Only `release` and `load_release` make one.
    """

    results: Results
    manifest_text: str
    protocol: Protocol
    made_by: InitVar[object] = None

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _FROM_THE_GATE:
            raise DisclosureError(
                Fault("Release", "it is made by the gate alone",
                      next_step="Call evalkit.disclose.release(), or load_release() on a folder that holds one.")
            )  # fmt: skip

    @property
    def manifest(self) -> dict[str, Any]:
        """A copy of the manifest."""
        return json.loads(self.manifest_text)

    def table(self, name: str) -> pd.DataFrame:
        """The rows of one table or figure, in order; see `evalkit.core.result.GLOSSARY` for the columns."""
        return self.results.table(name)

    def save(self, folder: Path | str) -> None:
        """Write `results.parquet` and `manifest.json` into `folder`, which is made if need be.

        Each file is written beside its place and then moved there, the manifest last, so that a
        manifest never stands beside numbers that are not its own.

        Raises
        ------
        OutputError
            If the folder cannot be made or written.
        """
        folder = Path(folder)
        contents = {RESULTS_FILE: _parquet_bytes(self.results), MANIFEST_FILE: self.manifest_text.encode()}
        fresh = {name: folder / f".{name}.new" for name in contents}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                fresh[name].write_bytes(content)
            (folder / MANIFEST_FILE).unlink(missing_ok=True)
            for name in contents:
                fresh[name].replace(folder / name)
        except OSError as error:
            _remove(fresh.values())
            why = error.strerror or type(error).__name__
            raise OutputError(
                Fault(str(folder), f"the release cannot be written there ({why})",
                      next_step="Give a folder that can be written, with room for it.")
            ) from error  # fmt: skip


def release(
    results: Results, *, policy: Policy, protocol: Protocol, provenance: Mapping[str, Any],
    earlier: Release | None = None,
) -> Release:  # fmt: skip
    """Put results through disclosure control.

    Parameters
    ----------
    policy
        From `evalkit.disclose.policy(protocol.disclosure.profile)`.
    provenance
        `evalkit_version`, `data_digest`, `tables` (name to number of rows, or to a mapping with
        `rows` and perhaps `sha256`), `code_digest`, `environment` (package to version) and perhaps
        `notebooks`. Numbers of rows are counts and are rounded like any other.
    earlier
        A release that the same readers have (`load_release`). What the two would tell together is then withheld by
        the rule "differencing", or shown again as it was where it moved by too few.

    Raises
    ------
    DisclosureError
        If the policy is not the protocol's, a row belongs to another protocol, a text counts people,
        a row is a minimum or maximum, a count is negative, a total is no count, or `provenance` holds
        what is not listed. Nothing is released then.
    """
    frame = results.frame
    _check_call(frame, policy, protocol, provenance)
    check_texts(frame, policy)
    check_kinds(frame)
    check_risk(frame, policy)
    frame = trim_curves(frame)
    groups = (protocol.areas.treated_label, "Comparators", "Other areas", *protocol.areas.all)
    if earlier is None:
        rulings = rule_on_rows(frame, suppress_counts(frame, policy, groups=groups), policy)
        released = Results(align_changes(coarsen(frame, rulings, policy), policy))
        manifest = _manifest(released, rulings, policy, protocol, provenance)
    else:
        past = read_past(earlier, protocol=protocol, data_digest=str(provenance["data_digest"]))
        told = tell_counts(frame, past, policy)
        counts = suppress_counts(frame, policy, groups=groups, past=past, told=told)
        beside = tell_beside(frame, rule_on_rows(frame, counts, policy), told, past, policy)
        released = Results(restore_kept(align_changes(beside.frame, policy), beside))
        manifest = _manifest(released, beside.rulings, policy, protocol, provenance)
        manifest |= _beside_earlier(manifest, beside, past, policy, provenance)
    return Release(released, _json(manifest), protocol, made_by=_FROM_THE_GATE)


def load_release(folder: Path | str) -> Release:
    """Read a release back, holding its files to the manifest.

    Raises
    ------
    DisclosureError
        If a file is missing, its checksum, columns or protocol digest are not the manifest's, or the
        manifest lacks an entry.
    """
    folder = Path(folder)
    try:
        text = (folder / MANIFEST_FILE).read_text(encoding="utf-8")
        manifest = json.loads(text)
        content = (folder / RESULTS_FILE).read_bytes()
    except FileNotFoundError as error:
        raise _not_a_release(folder, f"there is no {Path(str(error.filename)).name}") from None
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise _not_a_release(folder, f"{MANIFEST_FILE} is not JSON text") from None
    missing = [key for key in _MANIFEST_KEYS if not isinstance(manifest, dict) or key not in manifest]
    if missing:
        raise _not_a_release(folder, f"{MANIFEST_FILE} lacks {', '.join(missing)}")
    if hashlib.sha256(content).hexdigest() != manifest["files"].get(RESULTS_FILE):
        raise _not_a_release(folder, f"{RESULTS_FILE} is not the file the manifest was written for")
    table = pq.read_table(pa.BufferReader(content))
    if table.column_names != list(GLOSSARY):
        raise _not_a_release(folder, f"{RESULTS_FILE} does not have the columns of the glossary")
    try:
        protocol = Protocol.model_validate_json(json.dumps(manifest["protocol"]))
    except ValidationError:
        raise _not_a_release(folder, "the protocol in the manifest is not valid") from None
    if protocol.digest != manifest["protocol_digest"]:
        raise _not_a_release(folder, "the protocol in the manifest does not have the digest given there")
    return Release(Results(table.to_pandas()), text, protocol, made_by=_FROM_THE_GATE)


# ---- checks and manifest -------------------------------------------------------------------------


def _check_call(frame: pd.DataFrame, policy: Policy, protocol: Protocol, provenance: Mapping[str, Any]) -> None:
    faults = []
    if policy.name != protocol.disclosure.profile:
        faults.append(
            Fault("disclosure", "the policy is not the one that the protocol names", got=policy.name,
                  allowed=protocol.disclosure.profile)
        )  # fmt: skip
    foreign = sorted(set(frame["protocol"]) - {"", protocol.digest})
    if foreign:
        faults.append(Fault("results", "some numbers carry the digest of another protocol"))
    faults += [
        Fault("provenance", f'"{key}" is not known', allowed=", ".join(PROVENANCE_KEYS))
        for key in provenance if key not in PROVENANCE_KEYS
    ]  # fmt: skip
    faults += [
        Fault("provenance", f'"{key}" is missing')
        for key in PROVENANCE_KEYS if key not in provenance and key not in _PERHAPS_KEYS
    ]  # fmt: skip
    if faults:
        raise DisclosureError(faults)


def _manifest(
    released: Results, rulings: Mapping[str, Ruling], policy: Policy, protocol: Protocol, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    frame = released.frame
    gone = frame[(frame["status"] == "suppressed") & ~frame["id"].isin(list(rulings))]
    later = {n: Ruling("linked", w) for n, w in zip(gone["id"], gone["reason"], strict=True)}  # by `align_changes`
    rulings = {**rulings, **later}
    withheld = [(name, rulings[name]) for name in frame["id"] if name in rulings]
    rules = [ruling.rule for _, ruling in withheld]
    statuses = frame["status"].value_counts().to_dict()
    return dict(provenance) | {
        "tables": {name: _table_entry(entry, policy) for name, entry in provenance["tables"].items()},
        "protocol": protocol.model_dump(mode="json"),
        "protocol_digest": protocol.digest,
        "profile": asdict(policy),
        "suppressed": [{"id": name, "rule": ruling.rule, "why": ruling.why} for name, ruling in withheld],
        "counts": {
            "numbers": len(frame),
            **{status: int(statuses.get(status, 0)) for status in ("shown", "not_estimable", "refused", "suppressed")},
            **{rule: rules.count(rule) for rule in get_args(Rule)},
        },
        "files": {RESULTS_FILE: hashlib.sha256(_parquet_bytes(released)).hexdigest()},
    }


def _beside_earlier(
    manifest: Mapping[str, Any], beside: Beside, past: Past, policy: Policy, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """What a manifest says more beside an earlier release; numbers of rows that moved by too few are its own."""
    tables = dict(manifest["tables"])
    for name, entry in provenance["tables"].items():
        rows = entry if isinstance(entry, int) else entry["rows"]
        old = past.tables.get(name)
        before = old.get("rows") if isinstance(old, Mapping) else None
        if isinstance(before, int) and keeps(rows, before, past.policy, policy):
            tables[name] = tables[name] | {"rows": before}
    data = "the same" if past.same else "other"
    return {"tables": tables, "earlier": {"manifest": past.digest, "data": data, "kept": list(beside.kept)}}


def _table_entry(entry: int | Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    given = {"rows": entry} if isinstance(entry, int) else dict(entry)
    rows = given["rows"]
    kept = {"sha256": given["sha256"]} if "sha256" in given else {}
    return {"rows": f"fewer than {policy.threshold}" if policy.too_few(rows) else int(policy.rounded(rows))} | kept


def _parquet_bytes(results: Results) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RESULTS_FILE
        results.save(path)
        return path.read_bytes()


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _remove(paths: Any) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            continue  # the folder that could not be written cannot be tidied either


def _not_a_release(folder: Path, what: str) -> DisclosureError:
    return DisclosureError(Fault(str(folder), what, next_step="Make the release again with `evalkit evaluate`."))
