"""OpenAPI: what every operation shares (envelopes, errors, headers) is described here, once."""

from typing import Any

from django.core.validators import RegexValidator
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema

ERROR_CODES = {
    "400": "BAD_REQUEST",
    "401": "UNAUTHORIZED",
    "402": "BUDGET_EXCEEDED",
    "403": "FORBIDDEN",
    "404": "NOT_FOUND",
    "405": "METHOD_NOT_ALLOWED",
    "409": "CONFLICT",
    "412": "PRECONDITION_FAILED",
    "413": "PAYLOAD_TOO_LARGE",
    "415": "UNSUPPORTED_MEDIA_TYPE",
    "429": "RATE_LIMITED",
    "500": "INTERNAL_SERVER_ERROR",
    "502": "PROVIDER_ERROR",
    "503": "SERVICE_UNAVAILABLE",
    "504": "PROVIDER_TIMEOUT",
}
_EVERYWHERE = ("400", "401", "403", "404", "405", "413", "415", "429", "500", "503")
_JSON = "application/json"
_ANY_TEXT = r"^[^\u0000]*$"
_VISIBLE_TEXT = r"^[^\u0000]*[^\s\u0000-\u001f][^\u0000]*$"


class StrictCharFieldSchema(OpenApiSerializerFieldExtension):
    """Says in the schema of requests what text is refused: NUL, and blank where it may not be."""

    target_class = "everquant.api.serializers.StrictCharField"
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: str) -> Any:
        field = self.target
        schema = auto_schema._map_serializer_field(field, direction, bypass_extensions=True)
        if direction != "request" or any(isinstance(check, RegexValidator) for check in field.validators):
            return schema
        any_text = field.allow_blank or not field.trim_whitespace
        return {**schema, "pattern": _ANY_TEXT if any_text else _VISIBLE_TEXT}


class EnvelopeSchema(AutoSchema):
    """Serializers, tags and summaries as our viewsets declare them."""

    view: Any

    def get_request_serializer(self) -> Any:
        if self.method in {"GET", "HEAD", "DELETE"}:
            return None
        return self.view.get_serializer() if self.view.get_serializer_class() else None

    def get_response_serializers(self) -> Any:
        if self.method == "DELETE":
            return {204: None}
        serializer = self.view.get_output_serializer_class()
        many = self._is_list_view(serializer)
        status = "201" if self.view.action == "create" else "200"
        return {status: serializer(many=many, context={"request": None}) if serializer else None}

    def get_tags(self) -> list[str]:
        return [self._tokenize_path()[0]]


def describe_envelopes(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Spectacular's postprocessing hook: wraps every success in the envelope and adds the errors."""
    components = result.setdefault("components", {})
    for name, schema in components.setdefault("schemas", {}).items():
        if name.endswith("Request") and schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
    components["schemas"]["Error"] = _error_schema()
    components["responses"] = {code: _error_response(code) for code in ERROR_CODES.values()}
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            if method in {"get", "put", "post", "patch", "delete"}:
                _describe(path, method, operation)
    return result


def _describe(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    for status, response in responses.items():
        content = response.get("content", {}).get(_JSON)
        if status.startswith("2") and content:
            content["schema"] = _wrapped(content["schema"])
    errors = [*_EVERYWHERE]
    if method == "get" and "{" in path:
        operation.setdefault("parameters", []).append(_header("If-None-Match", "An ETag that the client has."))
        responses.setdefault("304", {"description": "Unchanged since the ETag in If-None-Match."})
    if method in {"put", "patch", "delete"}:
        errors += ["409", "412"]
        operation.setdefault("parameters", []).append(_header("If-Match", "The ETag that the object must still have."))
    if method == "post":
        errors += ["409"]
        operation.setdefault("parameters", []).append(_header("Idempotency-Key", "Makes a repetition harmless."))
    for status in errors:
        responses.setdefault(status, {"$ref": f"#/components/responses/{ERROR_CODES[status]}"})
    operation["responses"] = dict(sorted(responses.items()))


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    if "success" in schema.get("properties", {}):
        return schema
    return {
        "type": "object",
        "required": ["success", "data"],
        "properties": {"success": {"type": "boolean", "const": True}, "data": schema},
    }


def _header(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
    return {"in": "header", "name": name, "required": False, "description": description, "schema": schema}


def _error_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["success", "error"],
        "properties": {
            "success": {"type": "boolean", "const": False},
            "error": {
                "type": "object",
                "required": ["code", "message", "details"],
                "properties": {
                    "code": {"type": "string", "enum": sorted(ERROR_CODES.values())},
                    "message": {"type": "string"},
                    "details": {
                        "type": "object",
                        "description": "Dotted path of an input → what is wrong with it.",
                        "additionalProperties": {"type": "string"},
                    },
                    "request_id": {"type": "string", "description": "On 5xx: what to look for in the log."},
                },
            },
        },
    }


def _error_response(code: str) -> dict[str, Any]:
    return {"description": code, "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}}
