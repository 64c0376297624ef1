"""The JSON Schema of definitions, for editors and for the first step of validation. It has what each kind declares."""

from functools import cache
from typing import Any

from apps.workflows.nodes.fields import HANDLE_PATTERN
from apps.workflows.nodes.registry import kinds

Json = dict[str, Any]

SCHEMA_ID = "urn:everquant:workflow-definition:1"
MAX_NODES = 200
MAX_EDGES = 1_000
MAX_OUTPUTS = 100
MAX_BODY_DEPTH = 3
MAX_LAYOUT_CHARS = 65_536
MAX_NAME = 200

_ID = r"^[a-z][a-z0-9_]{0,63}$(?!\n)"
_HANDLE = rf"^(?:error|{HANDLE_PATTERN})$(?!\n)"
_OUTPUT_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$(?!\n)"
_USD = r"^[0-9]{1,8}(\.[0-9]{1,8})?$(?!\n)"


@cache
def definition_schema() -> Json:
    """Draft 2020-12. Do not change what it gives."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "EverQuant workflow definition",
        "description": "A directed acyclic graph of nodes. Loops and maps are nodes with a body.",
        **_object(
            {
                "schema_version": {"const": 1, "title": "Version of this format"},
                "inputs": {
                    "type": "object",
                    "title": "Inputs",
                    "description": "A JSON Schema of the inputs of a run, which are an object; values refer to them as"
                    " inputs.name.",
                },
                "settings": {"$ref": "#/$defs/settings"},
                **_graph(),
                "outputs": {
                    "type": "object",
                    "title": "Outputs",
                    "description": 'What a run gives, by name: {"answer": {"$ref": "nodes.final.output"}}.',
                    "propertyNames": {"pattern": _OUTPUT_NAME},
                    "maxProperties": MAX_OUTPUTS,
                },
                "layout": {
                    "type": "object",
                    "title": "Layout",
                    "description": "Positions and the like, kept for editors; at most 64 KiB.",
                },
            },
            "schema_version",
            "nodes",
        ),
        "$defs": {
            "node": _node(),
            "edge": _edge(),
            "settings": _settings(),
            "retry": _retry(),
            "body": _body(),
            **{f"config_{name}": {"title": name, **kind.config_schema} for name, kind in kinds().items()},
        },
    }


def _object(properties: Json, *required: str) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _graph() -> Json:
    return {
        "nodes": {
            "type": "array",
            "title": "Nodes",
            "items": {"$ref": "#/$defs/node"},
            "minItems": 1,
            "maxItems": MAX_NODES,
        },
        "edges": {
            "type": "array",
            "title": "Edges",
            "items": {"$ref": "#/$defs/edge"},
            "maxItems": MAX_EDGES,
            "default": [],
        },
    }


def _node() -> Json:
    schema = _object(
        {
            "id": {"$ref": "#/$defs/node/$defs/id"},
            "kind": {"enum": list(kinds()), "title": "Kind", "description": "What the node does."},
            "name": {"type": "string", "maxLength": MAX_NAME, "title": "Name", "description": "For people."},
            "config": {"type": "object", "title": "Configuration", "description": "Depends on the kind."},
            "retry": {"$ref": "#/$defs/retry"},
            "timeout_s": _seconds("Seconds that one attempt may take; without it, those of the run.", 86_400),
            "on_error": {
                "enum": ["fail", "branch", "default"],
                "default": "fail",
                "title": "On error",
                "description": "When the last attempt has failed: fail the run; leave by the edges of the handle error;"
                " go on with default_output.",
            },
            "default_output": {"title": "Default output", "description": "The output in place of a failure."},
        },
        "id",
        "kind",
    )
    id_ = {
        "type": "string",
        "pattern": _ID,
        "title": "Id",
        "description": "Lower-case letters, digits and underscores, a letter first; unique among all nodes.",
    }
    return {"title": "Node", **schema, "$defs": {"id": id_}, "allOf": [_config_of(name) for name in kinds()]}


def _config_of(kind: str) -> Json:
    schema = kinds()[kind].config_schema
    then: Json = {"properties": {"config": {"$ref": f"#/$defs/config_{kind}"}}}
    if schema.get("required"):
        then["required"] = ["config"]
    return {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": then}


def _edge() -> Json:
    node_id = {"$ref": "#/$defs/node/$defs/id"}
    handle = {
        "type": "string",
        "pattern": _HANDLE,
        "default": "ok",
        "title": "Handle",
        "description": "How the run leaves the node: ok, error, or what its kind has instead of ok.",
    }
    return {"title": "Edge", **_object({"from": node_id, "to": node_id, "handle": handle}, "from", "to")}


def _settings() -> Json:
    return {
        "title": "Settings",
        "description": "Limits of one run.",
        **_object(
            {
                "timeout_s": {
                    **_seconds("Seconds of work, without those of waiting for a person or a time.", 86_400),
                    "default": 600,
                },
                "max_node_executions": _whole("Nodes that may run, each pass of a body counted.", 100_000, 500),
                "max_concurrency": _whole("Nodes that run at once.", 64, 8),
                "max_cost_usd": {
                    "type": ["string", "null"],
                    "pattern": _USD,
                    "default": None,
                    "description": 'What the calls of models may cost in all, such as "1.50"; null for no limit.',
                },
            }
        ),
    }


def _retry() -> Json:
    return {
        "title": "Retry",
        "description": "Only failures that may pass are tried again. Pauses are initial_s · factor^n, at most max_s.",
        **_object(
            {
                "max_attempts": _whole("Attempts in all.", 10, 1),
                "initial_s": {"type": "number", "minimum": 0, "maximum": 3_600, "default": 0.5},
                "factor": {"type": "number", "minimum": 1, "maximum": 10, "default": 2},
                "max_s": {"type": "number", "minimum": 0, "maximum": 3_600, "default": 20},
            }
        ),
    }


def _body() -> Json:
    output = {
        "title": "Output",
        "description": "A value over the body's nodes: the output of one pass; without it, that of the last node.",
    }
    return {"title": "Body", "description": "A graph of its own.", **_object({**_graph(), "output": output}, "nodes")}


def _seconds(description: str, most: int) -> Json:
    return {"type": "number", "exclusiveMinimum": 0, "maximum": most, "description": description}


def _whole(description: str, most: int, default: int) -> Json:
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default, "description": description}
