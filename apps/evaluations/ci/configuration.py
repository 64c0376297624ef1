"""evaluation.yaml: the body of POST /evaluations, and under `gate` what decides."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from apps.evaluations.ci.failures import UsageFailure

Json = Any
FIELDS = {
    "name", "dataset", "dataset_version", "split", "item_limit", "subjects", "evaluators", "repeats",
    "max_concurrency", "budget_usd", "metadata", "gate",
}  # fmt: skip
GATE_FIELDS = {"rules", "candidate", "baseline"}
MAX_BYTES = 2 * 1024 * 1024


def read_configuration(path: Path, changes: Sequence[str] = ()) -> tuple[dict[str, Json], dict[str, Json]]:
    """The evaluation and the gate that a file asks for, `changes` (`subjects.1.version=7`) made.

    What the fields hold is checked by the server. Raises UsageFailure.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageFailure(f"{path} has more than {MAX_BYTES} bytes.")
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UsageFailure(f"{path} cannot be read: {error}") from error
    if not isinstance(said, dict):
        raise UsageFailure(f"{path}: a mapping is expected.")
    for change in changes:
        _change(said, change)
    _refuse_unknown(said, FIELDS, str(path))
    has_gate, gate = "gate" in said, said.pop("gate", {})
    if not isinstance(gate, dict):
        raise UsageFailure(f"{path}: gate must be a mapping.")
    _refuse_unknown(gate, GATE_FIELDS, f"{path}: gate")
    if has_gate and not gate.get("rules"):
        raise UsageFailure(f"{path}: gate has no rules, and would be green whatever comes: leave it out.")
    if isinstance(said.get("budget_usd"), int | float):
        said["budget_usd"] = f"{Decimal(str(said['budget_usd'])):f}"
    return said, gate


def _refuse_unknown(given: dict[str, Json], known: set[str], where: str) -> None:
    if unknown := sorted(str(name) for name in given if name not in known):
        raise UsageFailure(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}.")


def _change(said: Json, change: str) -> None:
    """Set what the dotted path names, in mappings and lists that are there."""
    path, is_given, value = change.partition("=")
    *parents, last = path.split(".")
    try:
        for name in parents:
            said = said[int(name)] if isinstance(said, list) else said[name]
        if isinstance(said, list):
            said[int(last)] = yaml.safe_load(value)
        else:
            said[last] = yaml.safe_load(value)
    except (KeyError, IndexError, ValueError, TypeError, yaml.YAMLError) as error:
        raise UsageFailure(f"--set {change}: there is no such place.") from error
    if not is_given:
        raise UsageFailure(f"--set {change}: PATH=VALUE is expected.")
