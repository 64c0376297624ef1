"""How one answer is given, and the model names that ask for it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

FOREVER_S = 3600.0
STEP_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Times in seconds. `text` None answers `You said: ` and the last user text; a function is given the request."""

    delay_s: float = 0.0
    status: int = 200
    retry_after: str = ""
    message: str = ""
    text: str | Callable[[dict[str, Any]], str] | None = None
    words: list[str] | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str = ""
    has_usage: bool = True
    interval_s: float = 0.0
    slow_headers: bool = False
    drip: bool = False
    stall_before_token: bool = False
    stall_after_token: bool = False
    cut: bool = False
    hang_up: bool = False
    raw_body: bytes | None = None
    streamed_error: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Can be written at once."""
        return not (
            self.delay_s
            or self.interval_s
            or self.slow_headers
            or self.drip
            or self.stall_before_token
            or self.stall_after_token
            or self.cut
            or self.hang_up
        )


_FIXED = {
    "slow-headers": Behaviour(slow_headers=True),
    "drip": Behaviour(drip=True),
    "stall-before": Behaviour(stall_before_token=True),
    "stall-after": Behaviour(stall_after_token=True),
    "cut": Behaviour(cut=True),
    "hang-up": Behaviour(hang_up=True),
    "invalid-json": Behaviour(raw_body=b'{"choices": [{"message": '),
    "wrong-shape": Behaviour(raw_body=b'{"hello": ["world"]}'),
    "oversized": Behaviour(words=["x" * 10_000_000]),
    "oversized-words": Behaviour(words=["x" * 1000] * 10_000),
    "no-usage": Behaviour(has_usage=False),
    "redirect": Behaviour(status=302, headers={"Location": "http://169.254.169.254/latest"}),
    "overloaded": Behaviour(streamed_error={"type": "overloaded_error", "message": "Overloaded"}),
}
_STATUS = re.compile(r"(?P<status>[1-5]\d\d)(?:-retry-after-(?P<seconds>\d+(?:\.\d+)?))?")
_DELAY = re.compile(r"delay-(?P<ms>\d+)")
_THEN = re.compile(r"(?P<first>.+?)-then-200(?:-.*)?")


def named_behaviour(model: str, seen_before: int) -> Behaviour:
    """`fault-429-retry-after-1`, `fault-500`, `fault-delay-200`, `fault-<one of the fixed names>`.

    `fault-<any>-then-200` has the fault at the first call of that exact model name only; a suffix after it makes the
    name a test's own, as in `fault-500-then-200-abc`.
    """
    if not model.startswith("fault-"):
        return Behaviour()
    name = model.removeprefix("fault-")
    if match := _THEN.fullmatch(name):
        if seen_before:
            return Behaviour()
        name = match["first"]
    if name in _FIXED:
        return _FIXED[name]
    if match := _STATUS.fullmatch(name):
        return Behaviour(status=int(match["status"]), retry_after=match["seconds"] or "")
    if match := _DELAY.fullmatch(name):
        return Behaviour(delay_s=int(match["ms"]) / 1000)
    return Behaviour(status=404, message=f"There is no model {model}.")
