"""Datasets, their append-only versions, and the items that each version has."""

from typing import Any, ClassVar, Self

from auditlog.registry import auditlog
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from apps.organizations.models import SoftDeleteTenantModel, TenantModel, TenantQuerySet
from apps.prompts.fields import OrderedJSONField
from apps.prompts.models import MAX_TAGS, SLUG, SLUG_LENGTH, TAG_LENGTH
from everquant.db import uuid7

SPLIT_LENGTH = 50


class Dataset(SoftDeleteTenantModel):
    """A named set of items. `current_version` is the newest one, null before the first items.

    The schemas are JSON Schemas that every item's `input` and `expected` fits from now on, null for any.
    """

    slug = models.CharField(max_length=SLUG_LENGTH, validators=[SLUG])
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True, max_length=5000)
    tags = ArrayField(models.CharField(max_length=TAG_LENGTH), default=list, blank=True, size=MAX_TAGS)
    input_schema = OrderedJSONField(null=True, blank=True)
    expected_schema = OrderedJSONField(null=True, blank=True)
    current_version = models.ForeignKey(
        "DatasetVersion", on_delete=models.RESTRICT, related_name="+", db_index=False, null=True, editable=False
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "slug"],
                condition=Q(deleted_at__isnull=True),
                name="evaluations_dataset_slug_unique",
            )
        ]
        indexes = [models.Index(fields=["organization", "-created_at", "-id"], name="evaluations_dataset_newest")]

    def __str__(self) -> str:
        return self.slug


class DatasetVersion(TenantModel):
    """What a dataset was at one time; the database refuses changes (see the second migration).

    Its items are those of the dataset that `DatasetItem.objects.of_version()` gives. The schemas are those that they
    were checked against.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="versions", db_index=False)
    version_number = models.PositiveIntegerField()
    item_count = models.PositiveIntegerField()
    input_schema = OrderedJSONField(null=True)
    expected_schema = OrderedJSONField(null=True)
    message = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )

    class Meta:
        ordering = ["-version_number", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "version_number"], name="evaluations_datasetversion_number_unique"
            ),
            models.CheckConstraint(
                condition=Q(version_number__gte=1), name="evaluations_datasetversion_number_positive"
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.version_number}"


class DatasetItemQuerySet(TenantQuerySet):
    def of_version(self, version: DatasetVersion) -> Self:
        """In their order."""
        number = version.version_number
        return self.filter(
            Q(until__isnull=True) | Q(until__gt=number), dataset_id=version.dataset_id, since__lte=number
        ).order_by("position", "id")

    def current(self) -> Self:
        """Those of the newest version."""
        return self.filter(until__isnull=True)


class DatasetItem(models.Model):
    """One item, in the versions from `since` until before `until` (null: it is in the newest one).

    It never changes: an edit ends it and begins another one at the same `position`, so that an id names the same
    content in every version, and results are paired by it. `expected` and `output` (a recorded answer, which needs no
    call to be evaluated) are there only with `has_expected` and `has_output`: null is a value. `content_hash` is that
    of input and expected value.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.CASCADE, related_name="+", db_index=False
    )
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="items", db_index=False)
    position = models.BigIntegerField()
    since = models.PositiveIntegerField()
    until = models.PositiveIntegerField(null=True)
    input = OrderedJSONField()
    expected = OrderedJSONField(null=True)
    has_expected = models.BooleanField(default=False)
    output = OrderedJSONField(null=True)
    has_output = models.BooleanField(default=False)
    metadata = models.JSONField(default=dict)
    split = models.CharField(max_length=SPLIT_LENGTH, blank=True)
    content_hash = models.BinaryField(max_length=32)
    source_execution_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[Any] = DatasetItemQuerySet.as_manager()

    class Meta:
        ordering = ["position", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(until__isnull=True) | Q(until__gt=F("since")), name="evaluations_datasetitem_span"
            ),
            models.CheckConstraint(
                condition=Q(has_expected=True) | Q(expected__isnull=True), name="evaluations_datasetitem_expected"
            ),
            models.CheckConstraint(
                condition=Q(has_output=True) | Q(output__isnull=True), name="evaluations_datasetitem_output"
            ),
        ]
        indexes = [
            models.Index(fields=["dataset", "position", "id"], name="evaluations_item_order"),
            models.Index(
                fields=["dataset", "content_hash"],
                name="evaluations_item_hash",
                condition=Q(until__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


auditlog.register(Dataset, exclude_fields=["updated_at"])
auditlog.register(DatasetVersion, exclude_fields=["updated_at"])
