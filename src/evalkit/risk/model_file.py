"""A risk model on disk: the fitted pipeline in skops' format, which runs no code, and a contract that people can read.

The folder belongs on the secure side: trees may tell of few people, and the contract names every level met. The
contract's checksum finds a slip or a careless edit; it is no signature, so whoever wants to be sure that a folder is
the one that was approved keeps the digest that `save_model` gives and asks for it when loading. A forger who makes the
checksums anew can make other risks, and with a mangled tree a crash, but runs no code of theirs.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sklearn
import skops
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from skops.io.exceptions import UntrustedTypesFoundException

import evalkit
from evalkit.core.errors import Fault, OutputError, ParameterError
from evalkit.core.faults import refuse
from evalkit.core.files import cannot_write, swap_folder
from evalkit.core.result import Check
from evalkit.risk.model import MODEL_LABELS, ModelOptions, RiskModel, Training, list_terms
from evalkit.risk.prepare import RiskColumn

MODEL_FILE, CONTRACT_FILE = "model.skops", "contract.json"
FORMAT = "evalkit risk model, version 1"
# What is trusted beyond skops' own list (scikit-learn's estimators, numpy's and scipy's arrays, plain Python).
TRUSTED_TYPES = (
    "evalkit.risk.competing.CompetingRiskClassifier",
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
)
# Estimators that keep people's rows, whatever they are inside of.
_KEEP_ROWS = frozenset((
    "KNeighborsClassifier", "RadiusNeighborsClassifier", "KDTree", "BallTree", "SVC", "NuSVC",
    "GaussianProcessClassifier", "LabelPropagation", "LabelSpreading",
))  # fmt: skip
_BROKEN = (
    zipfile.BadZipFile, KeyError, TypeError, ValueError, AttributeError, ImportError, IndexError, EOFError,
    NotImplementedError, RecursionError, OSError,
)  # fmt: skip
_TEXTS = ("protocol", "evalkit", "scikit_learn", "skops", "model_file", "model_sha256", "contract_sha256")
_ENTRIES = (
    "format", "kind", "label", "horizon_days", "columns", "terms", "coefficients", "parameters", "training", "options",
    "checks", "seed", *_TEXTS,
)  # fmt: skip
_RERUN = "Save the model again with this evalkit, from the protocol that is in use"


def save_model(model: RiskModel, folder: Path | str, *, protocol_digest: str) -> str:
    """Write `model.skops` and `contract.json` to `folder`, both or neither; an earlier model there is replaced.

    Returns the SHA-256 of the contract, which names that of the model file: keep it to know the folder again.

    Fails with `ParameterError` for an empty digest, an estimator that holds people's rows (such as nearest neighbours)
    or one of a type that could not be loaded again, and with `OutputError` where the folder holds anything else or
    cannot be written; what was there is then untouched.
    """
    if not isinstance(protocol_digest, str) or not protocol_digest:
        raise ParameterError(Fault("save_model protocol_digest", "is empty"))
    folder = Path(folder)
    data = skops.io.dumps(model.pipeline, compression=zipfile.ZIP_DEFLATED)
    refuse(_type_faults(data, where="save_model"))
    contract = _describe(model) | {
        "protocol": protocol_digest, "evalkit": evalkit.__version__, "scikit_learn": sklearn.__version__,
        "skops": skops.__version__, "model_file": MODEL_FILE, "model_sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    digest = _digest(contract)
    text = json.dumps(contract | {"contract_sha256": digest}, indent=2, ensure_ascii=False, allow_nan=False)
    _write(folder, {MODEL_FILE: data, CONTRACT_FILE: (text + "\n").encode()})
    return digest


def remove_model(folder: Path | str) -> None:
    """Remove a folder that `save_model` wrote; one that holds anything else is left alone."""
    folder = Path(folder)
    if folder.is_dir() and {path.name for path in folder.iterdir()} == {MODEL_FILE, CONTRACT_FILE}:
        shutil.rmtree(folder)


def load_model(folder: Path | str, *, protocol_digest: str, contract_digest: str | None = None) -> RiskModel:
    """The model that `save_model` wrote to `folder`, once everything about it holds.

    `contract_digest` is what `save_model` returned, where it was kept. Fails with `ParameterError`, all faults at
    once, for a folder without the two files or with others, a contract that was edited or is another one, another
    protocol, another minor version of evalkit or another scikit-learn, a model file that does not match its
    checksum, is a pickle or holds types outside `TRUSTED_TYPES` and skops' own.
    """
    folder = Path(folder)
    refuse(_folder_faults(folder))
    contract = _read_contract(folder / CONTRACT_FILE)
    data = (folder / MODEL_FILE).read_bytes()
    faults = _contract_faults(contract, protocol_digest, contract_digest)
    if data[:1] == b"\x80":
        faults.append(Fault(MODEL_FILE, "is a pickle, which could run any code", allowed="skops' format"))
    elif hashlib.sha256(data).hexdigest() != contract["model_sha256"]:
        faults.append(Fault(MODEL_FILE, "is not the file that the contract was written for", next_step=_RERUN))
    refuse(faults or _type_faults(data, where=MODEL_FILE))
    pipeline = _load_pipeline(data)
    try:
        model = _build(contract, pipeline)
        told = list(list_terms(pipeline)), [c.name for c in model.columns], _coefficients(model)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ParameterError(Fault(CONTRACT_FILE, "is not as evalkit writes it", next_step=_RERUN)) from None
    if told != (contract["terms"], list(pipeline.feature_names_in_), contract["coefficients"]):
        raise ParameterError(Fault(CONTRACT_FILE, "tells of another model than the model file", next_step=_RERUN))
    return model


# ---- contract ------------------------------------------------------------------------------------


def _describe(model: RiskModel) -> dict[str, Any]:
    columns = []
    for c in model.columns:
        held = {"levels": list(c.levels)} if c.type == "category" else {"low": c.low, "high": c.high}
        columns.append({"name": c.name, "type": c.type, "missing": c.missing} | held)
    return {
        "format": FORMAT,
        "kind": model.kind,
        "label": MODEL_LABELS[model.kind],
        "horizon_days": model.options.horizon_days,
        "columns": columns,
        "terms": list(list_terms(model.pipeline)),
        "coefficients": _coefficients(model),
        "parameters": model.parameters,
        "training": asdict(model.training),
        "options": asdict(model.options),
        "checks": [asdict(check) for check in model.checks],
        "seed": model.seed,
    }


def _coefficients(model: RiskModel) -> dict[str, float] | None:
    """Log odds ratios a unit of each prepared column, and the intercept; None where it is no logistic regression."""
    fit = model.pipeline[-1]
    if not isinstance(fit, LogisticRegression):
        return None
    scale = model.pipeline.named_steps["scale"]
    slopes = fit.coef_[0] / scale.scale_
    intercept = float(fit.intercept_[0] - slopes @ scale.mean_)
    return {"(intercept)": intercept} | dict(zip(list_terms(model.pipeline), slopes.tolist(), strict=True))


def _build(contract: dict[str, Any], pipeline: Pipeline) -> RiskModel:
    columns = [RiskColumn(**{**told, "levels": tuple(told.get("levels", ()))}) for told in contract["columns"]]
    return RiskModel(
        contract["kind"], tuple(columns), pipeline, contract["parameters"],
        tuple(Check(**check) for check in contract["checks"]), contract["seed"], Training(**contract["training"]),
        ModelOptions(**contract["options"]),
    )  # fmt: skip


def _digest(contract: dict[str, Any]) -> str:
    told = {name: value for name, value in contract.items() if name != "contract_sha256"}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _read_contract(path: Path) -> dict[str, Any]:
    """The contract as it was written; an edited one is refused here, so that all else in it can be relied on."""
    try:
        contract = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ParameterError(Fault(CONTRACT_FILE, "is not readable as JSON", next_step=_RERUN)) from None
    whole = isinstance(contract, dict) and contract.get("format") == FORMAT and set(contract) == set(_ENTRIES)
    if not whole or not all(isinstance(contract[name], str) for name in _TEXTS):
        raise ParameterError(Fault(CONTRACT_FILE, "is no contract of a risk model", allowed=FORMAT))
    if contract.get("contract_sha256") != _digest(contract):
        raise ParameterError(Fault(CONTRACT_FILE, "was edited after the model was saved", next_step=_RERUN))
    return contract


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _contract_faults(contract: dict[str, Any], protocol: str, digest: str | None) -> list[Fault]:
    faults = []
    if contract["protocol"] != protocol:
        step = "Develop the model under the protocol in use, or load it with the one it was developed under"
        faults.append(Fault(CONTRACT_FILE, "is of another protocol", str(contract["protocol"]), str(protocol), step))
    if digest is not None and contract["contract_sha256"] != digest:
        faults.append(Fault(CONTRACT_FILE, "is not the contract asked for", contract["contract_sha256"], digest))
    ours = ".".join(evalkit.__version__.split(".")[:2])
    if ".".join(contract["evalkit"].split(".")[:2]) != ours:
        faults.append(
            Fault(CONTRACT_FILE, "is of another version of evalkit", contract["evalkit"], f"{ours}.x", _RERUN)
        )
    if contract["scikit_learn"] != sklearn.__version__:
        got = contract["scikit_learn"]
        faults.append(Fault(CONTRACT_FILE, "is of another scikit-learn", got, sklearn.__version__, _RERUN))
    return faults


# ---- model file ----------------------------------------------------------------------------------


def _type_faults(data: bytes, *, where: str) -> list[Fault]:
    """What skops finds in a file, by name, without making any of it."""
    try:
        found = set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED_TYPES)
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            names = _class_names(json.loads(parts.read("schema.json")))
    except _BROKEN:
        return [Fault(where, "is not a whole model in skops' format")]
    faults = [Fault(where, f'holds the type "{name}", which is not trusted') for name in sorted(found)]
    step = "A trained model must not carry people's rows; take another estimator"
    return faults + [Fault(where, f"holds {n}, which keeps rows of data", next_step=step) for n in names & _KEEP_ROWS]


def _class_names(schema: Any) -> frozenset[str]:
    """Every class named anywhere in skops' description of a file."""
    names, left = set(), [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            names.add(str(part.get("__class__")))
            left += part.values()
        elif isinstance(part, list):
            left += part
    return frozenset(names)


def _load_pipeline(data: bytes) -> Pipeline:
    try:
        pipeline = skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    except (UntrustedTypesFoundException, *_BROKEN):
        raise ParameterError(Fault(MODEL_FILE, "is not a whole model in skops' format")) from None
    if not isinstance(pipeline, Pipeline) or "prepare" not in pipeline.named_steps:
        raise ParameterError(Fault(MODEL_FILE, "holds no risk model", type(pipeline).__name__, "a pipeline of evalkit"))
    return pipeline


# ---- folder --------------------------------------------------------------------------------------


def _folder_faults(folder: Path) -> list[Fault]:
    if not folder.is_dir():
        return [Fault(str(folder), "is no folder with a risk model", next_step="Give the folder, not a file in it")]
    held = {path.name for path in folder.iterdir()}
    wanted = {MODEL_FILE, CONTRACT_FILE}
    faults = [Fault(str(folder), f"has no {name}") for name in sorted(wanted - held)]
    allowed = f"{MODEL_FILE} and {CONTRACT_FILE} alone"
    faults += [Fault(str(folder), f'holds another file, "{name}"', allowed=allowed) for name in sorted(held - wanted)]
    return faults + [
        Fault(str(folder / name), "is no plain file") for name in sorted(wanted & held)
        if (folder / name).is_symlink() or not (folder / name).is_file()
    ]  # fmt: skip


def _write(folder: Path, texts: dict[str, bytes]) -> None:
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - set(texts)):
        raise OutputError(Fault(str(folder), "holds something that is no risk model", next_step="Name another folder"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise cannot_write(folder, error) from None
    try:
        for name, data in texts.items():
            (working / name).write_bytes(data)
        swap_folder(working, folder)
    except OSError as error:
        raise cannot_write(folder, error) from None
    finally:
        shutil.rmtree(working, ignore_errors=True)
