"""Whose figures somebody sees: operators those of every organization or of one, others of one they are members of."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest

from apps.analytics.dashboard.periods import DEFAULT, PERIODS, Period
from apps.organizations.models import Organization
from apps.users.models import Membership, User

MOST_OFFERED = 200
PERMISSION = "analytics:read"


@dataclass(frozen=True, slots=True)
class Choice:
    """What is shown: of one organization, of all (`is_of_all`), or, where somebody is a member of none, nothing."""

    organization: Organization | None
    is_of_all: bool
    offered: list[Organization]
    period: Period

    @property
    def organization_id(self) -> UUID | None:
        return self.organization.pk if self.organization else None

    def of(self, rows: Any) -> Any:
        """Those rows of a tenant-scoped queryset that may be seen."""
        if self.is_of_all:
            return rows
        return rows.none() if self.organization is None else rows.for_organization(self.organization.pk)


def choose(request: HttpRequest) -> Choice:
    """As the address asks for; raises Http404 for what is not offered, as for what is not there."""
    user = request.user
    if not isinstance(user, User):
        raise TypeError("pages of the admin are for users")
    period = PERIODS.get(request.GET.get("range", DEFAULT.name))
    if period is None:
        raise Http404
    visible = _visible(user)
    offered = list(visible.order_by("name", "id")[:MOST_OFFERED])
    wanted = request.GET.get("organization", "")
    if wanted:
        organization = _found(visible, offered, wanted)
        offered = offered if organization in offered else [*offered, organization]
        return Choice(organization, False, offered, period)
    if user.is_superuser:
        return Choice(None, True, offered, period)
    return Choice(offered[0] if offered else None, False, offered, period)


def _visible(user: User) -> Any:
    if user.is_superuser:
        return Organization.objects.all()
    memberships = Membership.objects.in_force().filter(user=user)
    allowed = [each.organization_id for each in memberships if PERMISSION in each.permissions]
    return Organization.objects.filter(pk__in=allowed)


def _found(visible: Any, offered: list[Organization], wanted: str) -> Organization:
    try:
        key = UUID(wanted)
    except ValueError:
        raise Http404 from None
    found: Organization | None = (
        next((each for each in offered if each.pk == key), None) or visible.filter(pk=key).first()
    )
    if found is None:
        raise Http404
    return found
