"""The base of every API view: order of checks, strict parameters, idempotency, limit headers."""

from collections.abc import Iterable
from functools import cache, partial
from typing import Any, ClassVar
from uuid import UUID

from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSetMixin

from everquant.api.conditional import check_conditional_header, etag_of, matches
from everquant.api.errors import Unauthorized
from everquant.api.filters import refuse_unknown_parameters
from everquant.api.idempotency import given_key, run_once
from everquant.api.throttling import RequestThrottle, Usage
from everquant.context import current


class ApiViewSet(ViewSetMixin, GenericAPIView):
    """A viewset declares; this class checks.

    `query_parameters` names what an action reads beyond paging and filters, `list_parameters` those of them that may
    be given several times. `network_actions` are those that wait on the network: they run outside of a transaction and
    look after their own Idempotency-Key.
    `input_serializer_classes` gives the serializer of an action's body where it is not `serializer_class`;
    `output_serializer_classes` that of its answer.

    For the description of the API: `keyed_network_actions` honour an Idempotency-Key, `tagged_actions` answer one
    object with its ETag, `guarded_actions` honour If-Match, and `further_errors` gives statuses that do not follow
    from an action's permission, path and method.
    """

    query_parameters: ClassVar[dict[str, frozenset[str]]] = {}
    list_parameters: ClassVar[dict[str, frozenset[str]]] = {}
    network_actions: ClassVar[frozenset[str]] = frozenset()
    input_serializer_classes: ClassVar[dict[str, Any]] = {}
    output_serializer_classes: ClassVar[dict[str, Any]] = {}
    tagged_actions: ClassVar[frozenset[str]] = frozenset({"retrieve", "create", "update", "partial_update"})
    guarded_actions: ClassVar[frozenset[str]] = frozenset({"update", "partial_update", "destroy"})
    keyed_network_actions: ClassVar[frozenset[str]] = frozenset()
    further_errors: ClassVar[dict[str, tuple[int, ...]]] = {}
    rate_limit_usage: Usage | None = None
    format_kwarg: str | None = None
    post: Any

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(request)
        try:
            self.perform_authentication(request)
        except Unauthorized:
            RequestThrottle.count_refusal(request)
            raise
        context = current()
        if context is not None:
            context.principal = request.auth
        self.check_throttles(request)
        self.check_permissions(request)
        if self.action is None:
            return
        lists = self.list_parameters.get(self.action, frozenset())
        refuse_unknown_parameters(request, self.allowed_parameters(), lists)
        if request.method == "POST":
            key = given_key(request)
            if key is not None and self.action not in self.network_actions:
                self.post = partial(self._post_once, key, self.post)
        check_conditional_header(request)
        self.check_ahead(request)

    def check_ahead(self, request: Request) -> None:
        """Checks of the input that wait on the network: no transaction is open yet. Raises ValidationError."""

    def names_to_prefetch(self, organization_id: UUID) -> Iterable[str]:
        """What this request will read from Redis beyond who calls, so that it comes in the same round trip."""
        return ()

    def _post_once(self, key: str, handler: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        return run_once(request, key, partial(handler, request, *args, **kwargs))

    def allowed_parameters(self) -> frozenset[str]:
        allowed = self.query_parameters.get(self.action, frozenset())
        if self.action != "list":
            return allowed
        names = {"ordering"} if getattr(self, "ordering_fields", None) else set()
        names |= {"search"} if getattr(self, "search_fields", None) else set()
        filterset = getattr(self, "filterset_class", None)
        names |= set(filterset.base_filters) if filterset else set()
        return allowed | names | getattr(self.paginator, "query_parameters", frozenset())

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if self.rate_limit_usage is not None:
            for name, value in self.rate_limit_usage.headers.items():
                response.headers.setdefault(name, value)
        return super().finalize_response(request, response, *args, **kwargs)

    def get_serializer_class(self) -> Any:
        """The serializer of the request's body."""
        return self.input_serializer_classes.get(self.action, self.serializer_class)

    def get_output_serializer_class(self) -> Any:
        return self.output_serializer_classes.get(self.action, self.serializer_class)

    def validated(self, *, instance: Any = None, partial: bool = False) -> dict[str, Any]:
        """The checked body of the request; raises ValidationError."""
        serializer_class = self.get_serializer_class()
        if instance is None:
            return dict(_shared(serializer_class, partial).run_validation(self.request.data))
        serializer = serializer_class(instance, data=self.request.data, partial=partial)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def represent(self, instance: Any, *, many: bool = False) -> Any:
        """The instance as the action answers it."""
        return self.get_output_serializer_class()(instance, many=many, context=self.get_serializer_context()).data

    def answer(self, instance: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        """One object with its ETag; 304 when the client has it already."""
        data = self.represent(instance)
        etag = etag_of(data)
        headers = {"ETag": etag, **(headers or {})}
        known = self.request.META.get("HTTP_IF_NONE_MATCH")  # `headers` would parse all of them
        if self.request.method in {"GET", "HEAD"} and known and matches(known, etag):
            return Response(status=304, headers=headers)
        return Response(data, status=status, headers=headers)


@cache
def _shared(serializer_class: Any, partial: bool) -> Any:
    """One serializer for all requests: it keeps nothing of them, and to copy its fields anew costs more than to check.

    A serializer of an existing instance may look at it, and is made for its request.
    """
    return serializer_class(partial=partial)
