"""The optional JSON Schema of a prompt's variables (Draft 2020-12, without what can be made to cost too much)."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError as StockSchemaError
from jsonschema.exceptions import ValidationError

from apps.prompts.rendering import checking
from apps.prompts.rendering.errors import SchemaError, VariablesError
from apps.prompts.rendering.values import find_problem

MAX_SCHEMA_CHARS = 64_000
MAX_SCHEMA_DEPTH = 24
MAX_EXPANDED_SCHEMAS = 2_000
MAX_ERRORS = 50

ONE_SCHEMA = frozenset(["additionalProperties", "contains", "else", "if", "items", "not", "then"])
SCHEMA_LISTS = frozenset(["allOf", "anyOf", "oneOf", "prefixItems"])
SCHEMA_MAPS = frozenset({"$defs", "properties"})
ASSERTIONS = frozenset(
    [
        "$ref",
        "const",
        "dependentRequired",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "maxContains",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minContains",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "required",
        "type",
    ]
)
ANNOTATIONS = frozenset(
    [
        "$comment",
        "$schema",
        "default",
        "deprecated",
        "description",
        "examples",
        "format",
        "readOnly",
        "title",
        "writeOnly",
    ]
)
KEYWORDS = ONE_SCHEMA | SCHEMA_LISTS | SCHEMA_MAPS | ASSERTIONS | ANNOTATIONS
DIALECT = "https://json-schema.org/draft/2020-12/schema"
LOCAL_REFERENCE = re.compile(r"#/\$defs/([\w-]{1,100})")

_Validator: Any = checking.bounded()


def check_schema(schema: Any, names: tuple[str, ...]) -> None:
    """Raise SchemaError unless `schema` describes an object whose properties are variables of the template."""
    check_bounded_schema(schema)
    if schema.get("type", "object") != "object":
        raise _refuse("type", "The variables are an object.")
    for name in [*schema.get("properties", {}), *schema.get("required", [])]:
        if name not in names:
            raise _refuse(f"properties.{name}", "The template has no such variable.")


def check_bounded_schema(schema: Any) -> None:
    """Raise SchemaError (details `variables_schema...`) unless `value_problems` can take this schema.

    Not supported, each for its cost or its reach: regular expressions, uniqueItems, unevaluated*, dynamic and remote
    references. A `$ref` names `#/$defs/...` and never itself.
    """
    if not isinstance(schema, dict):
        raise _refuse("", "A JSON Schema object is expected.")
    problem = find_problem(schema)
    if problem is not None:
        raise _refuse(*problem)
    if len(json.dumps(schema)) > MAX_SCHEMA_CHARS:
        raise _refuse("", f"The schema is longer than {MAX_SCHEMA_CHARS} characters.")
    for path, part in _subschemas(schema):
        _check_keywords(path, part)
    _check_against_dialect(schema)
    _check_references(schema)


def defaults(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """The `default` of every property that states one."""
    properties = (schema or {}).get("properties", {})
    return {name: part["default"] for name, part in properties.items() if isinstance(part, dict) and "default" in part}


def type_of(schema: Mapping[str, Any] | None, name: str) -> str:
    """The JSON type of a variable, or `any` when the schema states none or several."""
    part = (schema or {}).get("properties", {}).get(name)
    stated = part.get("type") if isinstance(part, dict) else None
    return stated if isinstance(stated, str) else "any"


def check_values(schema: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise VariablesError with one reason per dotted path of `variables`."""
    details = value_problems(schema, values, "variables")
    if details:
        raise VariablesError("The values do not fit the schema of the variables.", details)


def value_problems(schema: Mapping[str, Any], value: Any, at: str) -> dict[str, str]:
    """What does not fit a checked schema: dotted path, beginning with `at`, → one reason."""
    return Checker(schema).problems(value, at)


class Checker:
    """Holds many values against one checked schema, whose parts are prepared once. For one thread."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator = _Validator(dict(schema))
        self._parts: checking.Parts = {}

    def problems(self, value: Any, at: str) -> dict[str, str]:
        """As `value_problems`."""
        checking.begin(self._parts)
        try:
            errors = _first(self._validator.iter_errors(value))
        except checking.TooManyChecks:
            return {at: "The value is too large to be checked against this schema."}
        except (ArithmeticError, RecursionError) as failure:
            return {at: f"Cannot be checked: {failure}"[:200]}
        details: dict[str, str] = {}
        for error in errors:
            for path, reason in _places(error):
                details.setdefault(".".join([at, *map(str, error.absolute_path), *path]), reason[:300])
        return details


def _places(error: ValidationError) -> Iterator[tuple[tuple[str, ...], str]]:
    """A property that is missing, or that must not be there, is named itself."""
    stated = cast("Any", error)
    if error.validator == "required":
        missing = (name for name in stated.validator_value if name not in stated.instance)
        yield from (((name,), "This field is required.") for name in missing)
    elif error.validator == "additionalProperties" and stated.validator_value is False:
        known = stated.schema.get("properties", {})
        yield from (((name,), "Unknown field.") for name in stated.instance if name not in known)
    else:
        yield (), error.message


def _first(errors: Iterator[ValidationError]) -> list[ValidationError]:
    return [error for error, _ in zip(errors, range(MAX_ERRORS), strict=False)]


def _refuse(path: str, reason: str) -> SchemaError:
    return SchemaError(reason).at(f"variables_schema.{path}".rstrip("."))


def _subschemas(schema: Any) -> Iterator[tuple[str, Any]]:
    stack: list[tuple[str, Any]] = [("", schema)]
    while stack:
        path, part = stack.pop()
        yield path, part
        if path.count(".") > 2 * MAX_SCHEMA_DEPTH:
            raise _refuse(path, f"The schema is nested deeper than {MAX_SCHEMA_DEPTH} levels.")
        if isinstance(part, dict):
            stack.extend((f"{path}.{step}".lstrip("."), child) for step, child in _children(part))


def _children(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in schema.items():
        if key in ONE_SCHEMA:
            yield key, value
        elif key in SCHEMA_LISTS and isinstance(value, list):
            yield from ((f"{key}.{index}", part) for index, part in enumerate(value))
        elif key in SCHEMA_MAPS and isinstance(value, dict):
            yield from ((f"{key}.{name}", part) for name, part in value.items())


def _check_keywords(path: str, part: Any) -> None:
    if not isinstance(part, dict):
        return
    for key in part:
        if key not in KEYWORDS:
            raise _refuse(f"{path}.{key}".lstrip("."), "This keyword is not supported.")
    if "$ref" in part and _reference(part) is None:
        raise _refuse(f"{path}.$ref".lstrip("."), "Only references to #/$defs/name are supported.")
    if part.get("$schema", DIALECT) != DIALECT:
        raise _refuse(f"{path}.$schema".lstrip("."), f"Only {DIALECT} is supported.")


def _reference(part: dict[str, Any]) -> str | None:
    match = LOCAL_REFERENCE.fullmatch(part["$ref"]) if isinstance(part["$ref"], str) else None
    return match and match.group(1)


def _check_against_dialect(schema: dict[str, Any]) -> None:
    try:
        Draft202012Validator.check_schema(schema)
    except StockSchemaError as error:
        raise _refuse(".".join(map(str, error.absolute_path)), error.message[:300]) from error
    except RecursionError as error:
        raise _refuse("", "The schema is nested too deeply.") from error


def _check_references(schema: dict[str, Any]) -> None:
    """Walk the schema with every reference replaced by its target, and refuse circles and growth."""
    definitions = schema.get("$defs", {})
    stack: list[tuple[Any, frozenset[str]]] = [(schema, frozenset())]
    seen = 0
    while stack:
        part, inside = stack.pop()
        seen += 1
        if seen > MAX_EXPANDED_SCHEMAS:
            raise _refuse("", f"The schema unfolds to more than {MAX_EXPANDED_SCHEMAS} parts.")
        if not isinstance(part, dict):
            continue
        stack.extend((child, inside) for _, child in _children(part))
        if "$ref" in part:
            name = _reference(part) or ""
            if name not in definitions or name in inside:
                raise _refuse(f"$defs.{name}", "A reference must name a definition, and not the one it stands in.")
            stack.append((definitions[name], inside | {name}))


def check_response_schema(schema: Any) -> None:
    """Raise SchemaError (details `response_schema...`) unless `schema` is a JSON Schema; it is sent to the model."""
    field = "response_schema"
    if not isinstance(schema, dict):
        raise SchemaError("A JSON Schema object is expected.").at(field)
    problem = find_problem(schema, field)
    if problem is not None:
        raise SchemaError(problem[1]).at(problem[0])
    if len(json.dumps(schema)) > MAX_SCHEMA_CHARS:
        raise SchemaError(f"The schema is longer than {MAX_SCHEMA_CHARS} characters.").at(field)
    try:
        Draft202012Validator.check_schema(schema)
    except StockSchemaError as error:
        raise SchemaError(error.message[:300]).at(".".join([field, *map(str, error.absolute_path)])) from error
    except RecursionError as error:
        raise SchemaError("The schema is nested too deeply.").at(field) from error
