"""What happens when an organization is made: higher apps register here in their AppConfig.ready()."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apps.organizations.models import Organization

_callbacks: list[Callable[["Organization"], None]] = []


def on_organization_created(callback: Callable[["Organization"], None]) -> None:
    """Have `callback(organization)` called in the transaction that makes an organization."""
    if callback not in _callbacks:
        _callbacks.append(callback)


def organization_created(organization: "Organization") -> None:
    for callback in _callbacks:
        callback(organization)
