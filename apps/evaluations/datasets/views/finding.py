"""What requests about one dataset name: a version, and the state that a write expects."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from apps.evaluations.datasets.serializers import DatasetSerializer
from apps.evaluations.models import Dataset, DatasetVersion
from apps.prompts.serializers import MAX_VERSION
from apps.users.tenancy import TenantViewSet
from everquant.api.conditional import etag_of, require_match
from everquant.api.errors import NotFound
from everquant.api.pagination import integer_parameter

VERSION_PARAMETER = OpenApiParameter(
    "version",
    {"type": "integer", "minimum": 1, "maximum": MAX_VERSION},
    description="The version of this number; the newest by default.",
)


class OfDatasetViewSet(TenantViewSet):
    """What belongs to a dataset, whose id is in the path: If-Match is the dataset's ETag."""

    queryset = Dataset.objects.all()

    def refine(self, queryset: Any) -> Any:
        return queryset.alive()

    def check_if_match(self, instance: Any) -> None:
        header = self.request.headers.get("If-Match")
        if header:
            require_match(header, etag_of(DatasetSerializer(instance).data))


def version_asked_for(request: Request, dataset: Dataset) -> DatasetVersion | None:
    """By `version`, else the newest; None for a dataset that has none. Raises NotFound."""
    number = integer_parameter(request, "version", 0, MAX_VERSION)
    return version_of(dataset, number, "version") if number else dataset.current_version


def version_of(dataset: Dataset, number: int, parameter: str) -> DatasetVersion:
    try:
        found: DatasetVersion = dataset.versions.get(version_number=number)
    except DatasetVersion.DoesNotExist:
        message = f"The dataset has no version {number}."
        raise NotFound(message, details={parameter: "No such version."}) from None
    return found
