"""What an organization has used and has to pay for. See apps.executions.budgets for what it may spend."""

import re
from collections.abc import Collection
from datetime import date, timedelta
from typing import Any

from django.http import Http404, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics.billing import serializers as shapes
from apps.analytics.billing.exporting import statement_csv, usage_csv
from apps.analytics.billing.pdf import statement_pdf
from apps.analytics.billing.statements import open_statement
from apps.analytics.billing.usage import GROUPS, report
from apps.analytics.models import Statement
from apps.organizations.models import Organization
from apps.users.tenancy import ListMixin, PermissionViewSet, TenantViewSet
from everquant.api.conditional import etag_of_bytes, matches
from everquant.api.pagination import integer_parameter

MAX_DAYS = 800
MOST_REVISIONS = 2**31 - 1
_DAY = re.compile(r"(19[7-9][0-9]|2[01][0-9]{2})-[0-9]{2}-[0-9]{2}")
_DAY_SCHEMA = {"type": "string", "format": "date", "pattern": f"^{_DAY.pattern}$"}
_CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "pdf": "application/pdf"}
_FILE = {"type": "string"}


class UsageViewSet(PermissionViewSet):
    """What executions have cost."""

    serializer_class = shapes.UsageSerializer
    permissions = {"usage": "billing:manage"}
    query_parameters = {"usage": frozenset({"from", "to", "group_by", "format"})}
    tagged_actions = frozenset({"usage"})

    @extend_schema(
        parameters=[
            OpenApiParameter("from", _DAY_SCHEMA, description="The first day (UTC); the month's first by default."),
            OpenApiParameter("to", _DAY_SCHEMA, description="The first day that is not part of it; tomorrow."),
            OpenApiParameter("group_by", {"type": "string", "enum": list(GROUPS), "default": "day"}),
            OpenApiParameter("format", {"type": "string", "enum": ["json", "csv"], "default": "json"}),
        ],
        responses={(200, "application/json"): shapes.UsageSerializer, (200, "text/csv"): _FILE},
        summary="Read usage",
    )
    def usage(self, request: Request) -> HttpResponseBase:
        """Read usage. Exact sums of the executions that have ended, up to this moment, over days of UTC, at most 800;
        the ledger has those of executions that are not stored any more.
        """
        today = timezone.now().date()
        start = _day(request, "from", today.replace(day=1))
        end = _day(request, "to", today + timedelta(days=1))
        _check_range(start, end)
        group_by, file_format = _choice(request, "group_by", GROUPS, "day"), _choice(request, "format", ["json", "csv"])
        found = report(self.principal.organization_id, start, end, group_by)
        if file_format == "csv":
            return _file(request, usage_csv(found), "csv", f"usage-{start}-{end}-{group_by}")
        return self.answer(found)


class StatementViewSet(ListMixin, TenantViewSet):
    """Statements of months (UTC). A closed one does not change: what turns out otherwise is a new revision."""

    queryset = Statement.objects.current()
    serializer_class = shapes.StatementSummarySerializer
    permissions = {"list": "billing:manage", "retrieve": "billing:manage"}
    query_parameters = {"retrieve": frozenset({"format", "revision"})}
    output_serializer_classes = {"retrieve": shapes.StatementSerializer}

    @extend_schema(
        parameters=[
            OpenApiParameter("month", {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"}, OpenApiParameter.PATH),
            OpenApiParameter("format", {"type": "string", "enum": ["json", "csv", "pdf"], "default": "json"}),
            OpenApiParameter(
                "revision",
                {"type": "integer", "minimum": 1, "maximum": MOST_REVISIONS},
                description="The newest by default.",
            ),
        ],
        responses={
            (200, "application/json"): shapes.StatementSerializer,
            (200, "text/csv"): _FILE,
            (200, "application/pdf"): {"type": "string", "format": "binary"},
        },
    )
    def retrieve(self, request: Request, month: date, **kwargs: Any) -> HttpResponseBase:
        """Read a statement. A month is closed an hour after its end, once nothing of it runs any more; until then
        this is what it has come to so far, which is no revision.
        """
        file_format = _choice(request, "format", ["json", *_CONTENT_TYPES])
        content = self._content(month, integer_parameter(request, "revision", 0, MOST_REVISIONS))
        if file_format == "json":
            return self.answer(content)
        made = statement_csv(content) if file_format == "csv" else statement_pdf(content)
        return _file(request, made, file_format, f"statement-{content['month']}-{content['revision']}")

    def _content(self, month: date, revision: int) -> dict[str, Any]:
        """Of the revision, the newest for 0; raises Http404 for a month to come and a revision that there is not."""
        organization_id = self.principal.organization_id
        stored = Statement.objects.for_organization(organization_id).of_month(month)
        found = stored.filter(revision=revision).first() if revision else stored.first()
        if found is not None:
            return {**found.content, "sha256": found.sha256}
        if revision or month > timezone.now().date():
            raise Http404
        organization = Organization.objects.get(id=organization_id)
        return {**open_statement(organization, month), "sha256": None}


def _day(request: Request, name: str, default: date) -> date:
    given = request.query_params.get(name)
    if given is None:
        return default
    problem = ValidationError({name: ["Must be a day from 1970 to 2199, such as 2026-11-30."]})
    if not _DAY.fullmatch(given):
        raise problem
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise problem from None


def _check_range(start: date, end: date) -> None:
    if end <= start:
        raise ValidationError({"to": ["Must be after `from`; it is the first day that is not part of it."]})
    if (end - start).days > MAX_DAYS:
        raise ValidationError({"from": [f"At most {MAX_DAYS} days at once."]})


def _choice(request: Request, name: str, choices: Collection[str], default: str = "json") -> str:
    given = request.query_params.get(name, default)
    if given not in choices:
        raise ValidationError({name: [f"One of: {', '.join(choices)}."]})
    return given


def _file(request: Request, content: bytes, file_format: str, name: str) -> HttpResponseBase:
    """With its ETag; 304 when the client has it already."""
    etag = etag_of_bytes(content)
    known = request.headers.get("If-None-Match")
    if known and matches(known, etag):
        return Response(status=304, headers={"ETag": etag})
    answer = StreamingHttpResponse([content], content_type=_CONTENT_TYPES[file_format])
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}.{file_format}"'
    answer.headers["ETag"] = etag
    return answer
