"""Files on their way into a dataset.

The file is stored in the request, and what is read of it is staged block by block, so that a worker goes on where
another one was killed. Items are made of what is staged in the one transaction that makes the version.
"""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.evaluations.models.datasets import SPLIT_LENGTH, Dataset, DatasetVersion
from apps.organizations.models import TenantModel
from apps.prompts.fields import OrderedJSONField
from everquant.db import uuid7


class ImportStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ImportFormat(models.TextChoices):
    CSV = "csv"
    JSONL = "jsonl"
    JSON = "json"
    OPENAI = "openai"


class OnError(models.TextChoices):
    """What becomes of a file with rows that are not valid: nothing is imported, or the others are."""

    REFUSE = "refuse"
    SKIP = "skip"


class OnDuplicate(models.TextChoices):
    """What becomes of an item whose input and expected value are those of another one."""

    SKIP = "skip"
    KEEP = "keep"


TERMINAL_IMPORT = (ImportStatus.SUCCEEDED, ImportStatus.FAILED, ImportStatus.CANCELLED)
_IS_TERMINAL = Q(status__in=[status.value for status in TERMINAL_IMPORT])
_IS_FAILURE = Q(status=ImportStatus.FAILED.value)


class DatasetImport(TenantModel):
    """One file and what has become of it.

    `columns` maps columns to fields of an item, null for the default of the format. The schemas are those that the
    rows read so far were checked against. `row_count` are the rows read, `item_count` those that became items,
    `duplicate_count` those that were there already; `errors` the first of `error_count` rows that are not valid, each
    `{row, column, message}`. What is written names the `fence` that the import was taken with.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="imports", db_index=False)
    file_name = models.CharField(max_length=255, blank=True)
    format = models.CharField(max_length=16, choices=ImportFormat.choices)
    columns = OrderedJSONField(null=True)
    on_error = models.CharField(max_length=16, choices=OnError.choices)
    on_duplicate = models.CharField(max_length=16, choices=OnDuplicate.choices)
    is_dry_run = models.BooleanField(default=False)
    message = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )

    status = models.CharField(max_length=16, choices=ImportStatus.choices, default=ImportStatus.QUEUED)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    total_bytes = models.BigIntegerField()
    read_bytes = models.BigIntegerField(default=0)
    row_count = models.PositiveIntegerField(default=0)
    item_count = models.PositiveIntegerField(default=0)
    duplicate_count = models.PositiveIntegerField(default=0)
    error_count = models.PositiveIntegerField(default=0)
    errors = models.JSONField(default=list)
    version = models.ForeignKey(DatasetVersion, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)
    input_schema = OrderedJSONField(null=True)
    expected_schema = OrderedJSONField(null=True)
    has_file = models.BooleanField(default=True)
    fence = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=ImportStatus.values), name="evaluations_import_status_known"),
            models.CheckConstraint(
                condition=Q(_IS_TERMINAL, finished_at__isnull=False) | Q(~_IS_TERMINAL, finished_at__isnull=True),
                name="evaluations_import_end_has_time",
            ),
            models.CheckConstraint(
                condition=Q(_IS_FAILURE & ~Q(error_code="")) | Q(~_IS_FAILURE & Q(error_code="")),
                name="evaluations_import_failure_has_code",
            ),
        ]
        indexes = [
            models.Index(fields=["dataset", "-id"], name="evaluations_import_newest"),
            models.Index(
                fields=["finished_at"], name="evaluations_import_files", condition=Q(has_file=True) & _IS_TERMINAL
            ),
        ]

    def __str__(self) -> str:
        return self.file_name or str(self.id)

    @property
    def is_finished(self) -> bool:
        return self.status in TERMINAL_IMPORT


class DatasetImportPart(models.Model):
    """A piece of the file. The pieces in the order of their numbers are the file."""

    pk = models.CompositePrimaryKey("dataset_import_id", "number")
    dataset_import = models.ForeignKey(DatasetImport, on_delete=models.CASCADE, related_name="parts", db_index=False)
    number = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        ordering = ["dataset_import_id", "number"]

    def __str__(self) -> str:
        return f"{self.dataset_import_id} {self.number}"


class DatasetImportRow(models.Model):
    """A valid row of the file, staged. `number` counts the rows of the file from 1."""

    pk = models.CompositePrimaryKey("dataset_import_id", "number")
    dataset_import = models.ForeignKey(DatasetImport, on_delete=models.CASCADE, related_name="rows", db_index=False)
    number = models.PositiveIntegerField()
    item_id = models.UUIDField(default=uuid7)
    input: Any = OrderedJSONField()
    expected = OrderedJSONField(null=True)
    has_expected = models.BooleanField(default=False)
    output = OrderedJSONField(null=True)
    has_output = models.BooleanField(default=False)
    metadata = models.JSONField(default=dict)
    split = models.CharField(max_length=SPLIT_LENGTH, blank=True)
    content_hash = models.BinaryField(max_length=32)

    class Meta:
        ordering = ["dataset_import_id", "number"]

    def __str__(self) -> str:
        return f"{self.dataset_import_id} {self.number}"
