"""What of a call's body becomes the inputs of the run."""

from collections.abc import Mapping
from typing import Any

from apps.workflows.definition.values import Scope, ValueProblem, check_size, references, resolve
from apps.workflows.run_serializers import MAX_INPUT_BYTES
from everquant.api.envelope import dumps
from everquant.api.errors import BadRequest

Json = Any
ROOT = "payload"


def check_mapping(inputs: Mapping[str, Json] | None) -> None:
    """Raises BadRequest naming `inputs.<name>` for a value that refers to anything but the payload."""
    details = {}
    for name, value in (inputs or {}).items():
        try:
            roots = {reference.path.partition(".")[0] for reference in references(value)}
        except ValueProblem as problem:
            details[f"inputs.{name}"] = str(problem)
            continue
        if roots - {ROOT}:
            details[f"inputs.{name}"] = f"Values refer to '{ROOT}' only, not to '{min(roots - {ROOT})}'."
    if details:
        raise BadRequest("The inputs are not values over the payload.", details=details)


def inputs_of(mapping: Mapping[str, Json] | None, payload: Json) -> dict[str, Json]:
    """Raises BadRequest naming the input, or `payload` where it has to be an object itself."""
    if mapping is None:
        if not isinstance(payload, dict):
            raise BadRequest("payload: Must be a JSON object.", details={ROOT: "Must be a JSON object."})
        return payload
    scope, inputs, details = Scope({ROOT: payload}), {}, {}
    for name, value in mapping.items():
        try:
            inputs[name] = resolve(value, scope)
        except ValueProblem as problem:
            details[f"inputs.{name}"] = str(problem)
    try:
        check_size(inputs)
    except ValueProblem as problem:
        details["inputs"] = str(problem)
    if not details and len(dumps(inputs)) > MAX_INPUT_BYTES:
        details["inputs"] = f"At most {MAX_INPUT_BYTES} bytes of JSON."
    if details:
        raise BadRequest("The inputs cannot be made of the payload.", details=details)
    return inputs
