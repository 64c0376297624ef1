"""A/B tests as resources, and what is done with them."""

from typing import Any, ClassVar

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from apps.evaluations.ab_tests import promoting, services
from apps.evaluations.ab_tests import serializers as shapes
from apps.evaluations.ab_tests.filters import ABTestFilter
from apps.evaluations.ab_tests.representation import with_parts
from apps.prompts.models import ABTest
from apps.users.tenancy import ResourceViewSet

_EXECUTE, _UPDATE = "abtests:execute", "abtests:update"


class ABTestViewSet(ResourceViewSet):
    """Variants of a prompt, compared on real traffic."""

    queryset = ABTest.objects.all()
    serializer_class = shapes.ABTestSerializer
    filterset_class = ABTestFilter
    search_fields: ClassVar[list[str]] = ["name"]
    ordering_fields: ClassVar[list[str]] = ["name", "created_at", "updated_at"]
    permissions = {
        "list": "abtests:read",
        "retrieve": "abtests:read",
        "create": "abtests:create",
        "update": _UPDATE,
        "partial_update": _UPDATE,
        "destroy": "abtests:delete",
        "start": _EXECUTE,
        "stop": _EXECUTE,
        "pause": _EXECUTE,
        "resume": _EXECUTE,
        "promote": _EXECUTE,
        "rollback": _EXECUTE,
    }
    further_errors = {"update": (409,), "partial_update": (409,), "destroy": (409,)}
    input_serializer_classes = {
        "create": shapes.ABTestInputSerializer,
        "update": shapes.ABTestInputSerializer,
        "partial_update": shapes.ABTestChangeSerializer,
        "start": shapes.ABStartSerializer,
        "stop": shapes.ReasonSerializer,
        "pause": shapes.ReasonSerializer,
        "resume": shapes.ABResumeSerializer,
        "promote": shapes.ABPromoteSerializer,
        "rollback": shapes.ReasonSerializer,
    }

    def refine(self, queryset: Any) -> Any:
        """Locked rows are read without joins: one that changed while it was waited for would be lost with them."""
        queryset = queryset.alive()
        return with_parts(queryset) if self.action in {"list", "retrieve"} else queryset

    def perform_create(self, data: dict[str, Any]) -> ABTest:
        return self._whole(services.create_test(created_by_id=self.principal.user_id, **data))

    def perform_update(self, instance: ABTest, data: dict[str, Any]) -> ABTest:
        return self._whole(services.update_test(test=instance, by=self.principal, **data))

    def perform_destroy(self, instance: ABTest) -> None:
        services.delete_test(test=instance)

    @transaction.atomic
    def start(self, request: Request, **kwargs: Any) -> Response:
        """Start A/B test. From now on the variants share the traffic that names neither a version nor a label.

        `details` of a 409 names everything that the test lacks. The control must be what that traffic gets without
        the test. One that runs already is left as it is. Needs `prompts:protect` where the label is protected.
        """
        return self._done(services.start)

    @transaction.atomic
    def stop(self, request: Request, **kwargs: Any) -> Response:
        """Stop A/B test. Traffic gets what it gets without a test, and the results are kept as they are now.

        One that was stopped already is left as it is.
        """
        return self._done(services.stop)

    @transaction.atomic
    def pause(self, request: Request, **kwargs: Any) -> Response:
        """Pause A/B test. All traffic gets the control, and nothing is counted."""
        return self._done(services.pause)

    @transaction.atomic
    def resume(self, request: Request, **kwargs: Any) -> Response:
        """Resume A/B test. One that was paused by itself needs `force` and a reason."""
        return self._done(services.resume)

    @transaction.atomic
    def promote(self, request: Request, **kwargs: Any) -> Response:
        """Promote a variant. The label moves to its version if it is still where it was.

        A variant with a model or parameters of its own becomes a new version. `details` of a 409 says what speaks
        against it; `force` and a reason pass over that, and over nothing else. Needs `prompts:update` too, and
        `prompts:protect` for a protected label. For the variant that was promoted already nothing changes.
        """
        return self._done(promoting.promote)

    @transaction.atomic
    def rollback(self, request: Request, **kwargs: Any) -> Response:
        """Roll back A/B test. The label goes back to where it was, if it is still where the promotion put it.

        One that was not promoted ends with everything as it is. Needs what the promotion needs.
        """
        return self._done(promoting.rollback)

    def _done(self, service: Any) -> Response:
        said = self.validated()
        return Response(self.represent(self._whole(service(test=self.get_object(), by=self.principal, **said))))

    def _whole(self, test: ABTest) -> ABTest:
        found: ABTest = with_parts(ABTest.objects.all()).get(pk=test.pk)
        return found
