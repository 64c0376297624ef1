"""How values, times and states are shown on the pages of workflows."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.users.models import User
from apps.users.permissions import PERMISSIONS, Role
from apps.users.principal import Principal
from apps.workflows.drawing import draw
from apps.workflows.models import ApprovalStatus, RunStatus, StepStatus

LONGEST_SHOWN = 200_000

STATUS_COLOURS: dict[str, str] = {
    RunStatus.QUEUED: "info",
    RunStatus.RUNNING: "info",
    RunStatus.WAITING: "warning",
    RunStatus.SUCCEEDED: "success",
    RunStatus.FAILED: "danger",
    RunStatus.TIMED_OUT: "danger",
    RunStatus.CANCELLED: "",
    StepStatus.SKIPPED: "",
    StepStatus.INTERRUPTED: "primary",
    ApprovalStatus.PENDING: "warning",
    ApprovalStatus.APPROVED: "success",
    ApprovalStatus.REJECTED: "danger",
    ApprovalStatus.EXPIRED: "",
}


def pretty(value: Any) -> SafeString:
    """Any JSON, indented and escaped; what is very long is cut."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    left_out = len(text) - LONGEST_SHOWN
    rest = f"\n… {left_out:,} more characters" if left_out > 0 else ""
    return format_html('<pre class="wf-json" tabindex="0">{}</pre>', text[:LONGEST_SHOWN] + rest)


def drawing(
    definition: Any, states: Mapping[str, str] | None = None, *, title: str, link: Callable[[str], str] | None = None
) -> SafeString:
    # What users wrote in it is escaped there.
    drawn = SafeString(draw(definition, states, title=title, link=link))
    return format_html('<div class="wf-canvas" tabindex="0">{}</div>', drawn)


def dollars(amount: Decimal | None) -> str:
    return "" if amount is None else f"${amount.normalize():f}"


def duration(span: timedelta | None) -> str:
    """In the two largest units that matter: `340 ms`, `12.5 s`, `4 m 10 s`, `3 h 20 m`, `2 d 1 h`."""
    if span is None:
        return ""
    seconds = max(0.0, span.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for size, unit, part, part_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            whole, left = divmod(int(seconds), size)
            return f"{whole} {unit} {left // part} {part_unit}"
    return ""


def span(start: datetime | None, end: datetime | None) -> timedelta | None:
    return None if start is None or end is None else end - start


def operator(request: HttpRequest, organization_id: Any) -> Principal:
    """Who works on this page, as whoever may do everything in the organization of what they look at."""
    user: AbstractBaseUser | AnonymousUser = request.user
    if not isinstance(user, User):
        raise TypeError("pages of the admin are for users")
    return Principal(user.pk, organization_id, user.email, Role.ADMIN, frozenset(PERMISSIONS))
