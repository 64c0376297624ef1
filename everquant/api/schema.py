"""OpenAPI: what every operation shares (envelopes, errors, headers) is described here, once."""

import re
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
_EVERYWHERE = {"400", "401", "429", "500", "503"}
_JSON = "application/json"
_METHODS = {"get", "put", "post", "patch", "delete"}
_ANY_TEXT = r"^[^\u0000]*$"
_VISIBLE_TEXT = r"^[^\u0000]*[^\s\u0000\u001c-\u001f][^\u0000]*$"

_RATE_LIMITS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_SUMMARIES = {
    "list": "List {many}",
    "create": "Create {one}",
    "retrieve": "Read {one}",
    "update": "Replace {one}",
    "partial_update": "Change {one}",
    "destroy": "Delete {one}",
}


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
    """Operations as our viewsets declare them: names, serializers, and what headers and errors each has."""

    view: Any

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        operation.setdefault("security", [])
        operation.setdefault("parameters", []).extend(self._request_headers())
        responses = operation["responses"]
        for status, response in responses.items():
            if status.startswith("2"):
                _describe_success(response, self._response_headers(status))
        if "If-None-Match" in self._conditions():
            responses["304"] = {"description": "Unchanged since the ETag in If-None-Match.", **_headers({"ETag"})}
        for status in self._errors():
            responses.setdefault(status, {"$ref": f"#/components/responses/{ERROR_CODES[status]}"})
        operation["responses"] = dict(sorted(responses.items()))
        return operation

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

    def _insert_field_validators(self, field: Any, schema: dict[str, Any]) -> None:
        """Takes back the `oneOf` of text and no text, of which empty text would be both."""
        super()._insert_field_validators(field, schema)
        inner: dict[str, Any] = next(iter(schema.get("oneOf", [])), {})
        if inner.get("pattern") == _ANY_TEXT:
            schema.pop("oneOf")
            schema.update(inner)

    def get_filter_backends(self) -> Any:
        """Filters are the list's, whatever else answers with pages."""
        return super().get_filter_backends() if self.view.action == "list" else []

    def get_auth(self) -> list[dict[str, Any]]:
        schemes = super().get_auth()
        return [] if self._permission() == "public" else schemes

    def get_tags(self) -> list[str]:
        return [self._tokenize_path()[0]]

    def get_operation_id(self) -> str:
        """`prompts_list`, `prompts_execute`; a GET or POST of its own is named by its path alone."""
        names = [token.replace("-", "_") for token in self._tokenize_path()]
        if self.method in {"GET", "POST"} and self.view.action not in _SUMMARIES:
            return "_".join(names)
        return "_".join([*names, self.view.action if self.view.action in _SUMMARIES else self._standard_action()])

    def get_summary(self) -> str:
        """The first clause of the action's docstring, else a phrase such as `List prompts`."""
        doc = getattr(self.view, self.view.action).__doc__
        if doc:
            return re.split(r"[.;:](?:\s|$)", doc.strip(), maxsplit=1)[0]
        many = " ".join(self._tokenize_path()).replace("-", " ")
        many = re.sub(r"s (?=\w)", " ", many).replace("api", "API")
        return _SUMMARIES[self.view.action].format(many=many, one=many.removesuffix("s"))

    def get_description(self) -> str:  # type: ignore[override] # as spectacular has it, not as DRF
        """The action's docstring, else the viewset's own, and the permission that is needed."""
        doc = getattr(self.view, self.view.action).__doc__ or vars(type(self.view)).get("__doc__") or ""
        permission = self._permission()
        needs = f"Needs `{permission}`." if ":" in permission else ""
        return "\n\n".join(filter(None, [re.sub(r"\n +", "\n", doc.strip()), needs]))

    def _standard_action(self) -> str:
        return {"PUT": "update", "PATCH": "partial_update", "DELETE": "destroy"}[self.method]

    def _permission(self) -> str:
        return str(self.view.permissions.get(self.view.action, ""))

    def _is_run_once(self) -> bool:
        """Whether the action honours an Idempotency-Key."""
        unkeyed = self.view.network_actions - self.view.keyed_network_actions
        return self.method == "POST" and self.view.action not in unkeyed

    def _conditions(self) -> set[str]:
        conditions = {"If-Match"} if self.view.action in self.view.guarded_actions else set()
        if self.method == "GET" and self.view.action in self.view.tagged_actions:
            conditions.add("If-None-Match")
        return conditions

    def _request_headers(self) -> list[dict[str, Any]]:
        names = self._conditions() | ({"Idempotency-Key"} if self._is_run_once() else set())
        return [{"$ref": f"#/components/parameters/{name}"} for name in sorted(names)]

    def _response_headers(self, status: str) -> set[str]:
        names = {"X-Request-ID", *_RATE_LIMITS}
        names |= {"ETag"} if self.view.action in self.view.tagged_actions else set()
        names |= {"Location"} if status in {"201", "202"} and self._permission() != "public" else set()
        return names | ({"Idempotent-Replayed"} if self._is_run_once() else set())

    def _errors(self) -> set[str]:
        errors = _EVERYWHERE | {str(status) for status in self.view.further_errors.get(self.view.action, ())}
        errors |= {"403"} if self._permission() not in {"public", "authenticated"} else set()
        errors |= {"404"} if "{" in self.path else set()
        errors |= {"409"} if self._is_run_once() else set()
        errors |= {"412"} if "If-Match" in self._conditions() else set()
        return errors | ({"413", "415"} if self.method in {"POST", "PUT", "PATCH"} else set())


def describe_shared(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Spectacular's postprocessing hook: the components that operations refer to, and closed request bodies."""
    components = result.setdefault("components", {})
    for name, schema in components.setdefault("schemas", {}).items():
        if name.endswith("Request") and schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
        for field in schema.get("properties", {}).values():
            if isinstance(field.get("type"), list):  # spectacular says null twice of a field with a pattern
                field["type"] = list(dict.fromkeys(field["type"]))
            if field.get("oneOf") == [{}, {"type": "null"}]:  # null would be both
                del field["oneOf"]
    components["schemas"]["Error"] = _error_schema()
    components["responses"] = {code: _error_response(status, code) for status, code in ERROR_CODES.items()}
    components["headers"] = _header_components()
    components["parameters"] = {
        "If-Match": _header_parameter("If-Match", "The ETag that the object must still have."),
        "If-None-Match": _header_parameter("If-None-Match", "An ETag that the client has."),
        "Idempotency-Key": _header_parameter(
            "Idempotency-Key", "Makes a repetition of the request harmless.", "^[!-~]+$"
        ),
    }
    return result


def _describe_success(response: dict[str, Any], headers: set[str]) -> None:
    content = response.get("content", {}).get(_JSON)
    if content:
        content["schema"] = _wrapped(content["schema"])
    response.setdefault("headers", {}).update(_headers(headers)["headers"])


def _headers(names: set[str]) -> dict[str, Any]:
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in sorted(names)}}


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    """The envelope around an object; a page has its own, see `everquant.api.pagination.paged_schema`."""
    if schema.get("$ref", "").startswith("#/components/schemas/Paginated"):
        return schema
    return {
        "type": "object",
        "required": ["success", "data"],
        "properties": {"success": {"type": "boolean", "const": True}, "data": schema},
        "additionalProperties": False,
    }


def _header_parameter(name: str, description: str, pattern: str = "^[!-~]([ -~]*[!-~])?$") -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": pattern}
    return {"in": "header", "name": name, "required": False, "description": description, "schema": schema}


def _header_components() -> dict[str, Any]:
    text, count = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}
    return {
        "ETag": _header("Identifies this state of the object.", {"type": "string", "pattern": '^"[0-9a-f]+"$'}),
        "Location": _header("The path of what was made.", {"type": "string", "pattern": "^/api/v1/"}),
        "Retry-After": _header("Seconds until a repetition may succeed.", {"type": "integer", "minimum": 1}),
        "WWW-Authenticate": _header("The scheme to authenticate by.", {"type": "string", "const": "Bearer"}),
        "X-Request-ID": _header("The request's own X-Request-ID, or a new one; it is in the log.", text),
        "X-RateLimit-Limit": _header("Requests a period, of the tightest limit.", count, required=False),
        "X-RateLimit-Remaining": _header("Requests left in this period.", count, required=False),
        "X-RateLimit-Reset": _header("When the period ends, in seconds since 1970.", count, required=False),
        "Idempotent-Replayed": _header(
            "The answer is that of an earlier request with this key.",
            {"type": "string", "const": "true"},
            required=False,
        ),
    }


def _header(description: str, schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": schema}


def _error_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["success", "error"],
        "additionalProperties": False,
        "properties": {
            "success": {"type": "boolean", "const": False},
            "error": {
                "type": "object",
                "required": ["code", "message", "details"],
                "additionalProperties": False,
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


def _error_response(status: str, code: str) -> dict[str, Any]:
    own = {"401": {"WWW-Authenticate"}, "429": {"Retry-After"}, "503": {"Retry-After"}}.get(status, set())
    headers = _headers({"X-Request-ID", *_RATE_LIMITS, *own})["headers"]
    if status == "412":
        headers["ETag"] = _header("What the object's ETag is now.", {"type": "string"}, required=False)
    if status == "409":
        headers["Location"] = _header("Where to read what runs under the same key.", {"type": "string"}, required=False)
    of_this_code = {"properties": {"error": {"properties": {"code": {"const": code}}}}}
    return {
        "description": code.replace("_", " ").capitalize(),
        "headers": headers,
        "content": {_JSON: {"schema": {"allOf": [{"$ref": "#/components/schemas/Error"}, of_this_code]}}},
    }
