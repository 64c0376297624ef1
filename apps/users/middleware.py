"""Tells the request's context who works in the admin, so that audit entries name them."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse_lazy

from everquant.context import current

_ADMIN = reverse_lazy("admin:index")


@dataclass(frozen=True, slots=True)
class Operator:
    """A principal that is signed in to the admin: of every organization, and of none."""

    user_id: UUID
    email: str
    organization_id: None = None
    api_key_id: None = None


class OperatorMiddleware:
    """After AuthenticationMiddleware. Only under the admin: elsewhere its cookie says nothing."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        context = current()
        if context is not None and request.path.startswith(str(_ADMIN)) and request.user.is_authenticated:
            context.principal = Operator(request.user.pk, request.user.email)
        return self.get_response(request)
