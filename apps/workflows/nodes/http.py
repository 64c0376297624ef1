"""One request to an allowed host."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeKind, Result

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
MAX_BYTES = 10_000_000
DEFAULT_MAX_BYTES = 1_000_000
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# What the connection says for itself, and what would let a request say two things.
RESERVED_HEADERS = frozenset(
    {
        "connection", "content-length", "expect", "host", "idempotency-key", "keep-alive", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "x-everquant-run",
    }
)  # fmt: skip


class Http(NodeKind):
    """Output: `{"status", "headers", "body"}`."""

    kind = "http"
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "One request to a host that the organization allows. Redirects are answers.",
        {
            "method": fields.choice(*METHODS, description="", default="GET"),
            "url": fields.value_of(description="Absolute, http or https."),
            "headers": fields.value_of(description="By name."),
            "query": fields.value_of(description="Added to the URL, by name; a list gives a name several times."),
            "json": fields.value("The body, sent as JSON; or `body`."),
            "body": fields.value_of(description="The body, sent as text."),
            "expect": fields.choice(
                "json",
                "text",
                "auto",
                description="What the answer's body becomes; auto: JSON where its content type says so.",
                default="auto",
            ),
            "ok_status": {
                "type": "array",
                "description": "Which answers are no failure; without it 200 to 299.",
                "items": {"type": "integer", "minimum": 100, "maximum": 599},
                "minItems": 1,
                "maxItems": 100,
            },
            "max_bytes": fields.whole(1, MAX_BYTES, "A longer answer fails the node.", DEFAULT_MAX_BYTES),
        },
        "url",
    )

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        problems = []
        if "json" in config and "body" in config:
            problems.append(("INVALID_CONFIG", "Either json or body.", "body"))
        headers = config.get("headers")
        names = headers if isinstance(headers, dict) and "$ref" not in headers else ()
        wrong = {name: why for name in names if (why := header_problem(name))}
        return problems + [("INVALID_CONFIG", f"{name[:100]}: {why}", "headers") for name, why in wrong.items()]

    def run(self, call: NodeCall) -> Result:
        raise NotImplementedError


def header_problem(name: str) -> str | None:
    if not HEADER_NAME.fullmatch(name):
        return "This is not the name of a header."
    return "This header is not yours to set." if name.lower() in RESERVED_HEADERS else None
