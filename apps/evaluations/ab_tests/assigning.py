"""Variants for programs that call models themselves."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.executions.serializers import MetadataField
from apps.prompts import published
from apps.prompts.ab_tests import serving
from apps.prompts.models import UNIT_LENGTH, ABTest, Prompt
from apps.prompts.serializers import DefinitionOutputSerializer
from apps.users.tenancy import TenantViewSet
from everquant.api.serializers import StrictCharField, StrictSerializer


class AssignInputSerializer(StrictSerializer):
    unit_id = StrictCharField(max_length=UNIT_LENGTH, help_text="Whom it is for, such as your user's id.")
    metadata = MetadataField(default=dict)


class AssignmentSerializer(DefinitionOutputSerializer):
    """All that it takes to call the model. Without a variant the unit does not take part: it gets what it would get
    without the test. What is not exposed is not to be reported as an exposure.
    """

    test_id = serializers.UUIDField()
    variant = serializers.CharField(allow_null=True)
    phase = serializers.IntegerField(allow_null=True, min_value=1)
    is_exposed = serializers.BooleanField()
    prompt_id = serializers.UUIDField()
    slug = serializers.CharField()
    type = serializers.ChoiceField(Prompt.Type.choices)
    version_number = serializers.IntegerField()
    version_id = serializers.UUIDField()


class AssignViewSet(TenantViewSet):
    queryset = ABTest.objects.all()
    serializer_class = AssignInputSerializer
    permissions = {"assign": "prompts:execute"}
    output_serializer_classes = {"assign": AssignmentSerializer}

    @extend_schema(operation_id="ab_tests_assign", tags=["ab-tests"], responses=AssignmentSerializer)
    def assign(self, request: Request, pk: UUID) -> Response:
        """Assign a variant. The same unit gets the same one always, with all that it takes to call the model.

        Report the exposure when you use it. While the test is paused everybody gets the control.
        """
        said = self.validated()
        found = serving.of_test(self.principal.organization_id, pk)
        return Response(_represent(found, pk, found.places([(said["unit_id"], said["metadata"])])[0]))


def _represent(found: serving.Serving, test_id: UUID, place: serving.Place) -> dict[str, Any]:
    served, choice = place
    return {
        "test_id": test_id,
        "variant": choice.arm.name if choice else None,
        "phase": choice.phase if choice else None,
        "is_exposed": choice is not None and choice.is_exposed,
        "prompt_id": found.prompt.id,
        "slug": found.prompt.slug,
        "type": found.prompt.type,
        "version_number": served.version.version_number,
        "version_id": served.version.id,
        **published.version_definition(served.version),
        "model_id": served.model_id,
        "parameters": served.parameters,
    }
