"""Workflows, their immutable versions, and the labels that point at versions."""

from typing import Any, ClassVar, NoReturn

from auditlog.registry import auditlog
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import BooleanField, F, Func, Q

from apps.organizations.models import SoftDeleteTenantModel, SoftDeleteTenantQuerySet, TenantModel, TenantQuerySet
from apps.prompts.fields import OrderedJSONField
from apps.prompts.models import LABEL, LABEL_LENGTH, MAX_TAGS, SLUG, SLUG_LENGTH, TAG_LENGTH
from everquant.api.envelope import dumps

_LABEL_NUMBERS: dict[str, Any] = {
    "template": "(SELECT json_object_agg(label.name, version.version_number ORDER BY label.name)"
    " FROM workflows_workflowlabel label JOIN workflows_workflowversion version ON version.id = label.version_id"
    " WHERE label.workflow_id = %(expressions)s)",
    "output_field": OrderedJSONField(),
}
# Of what is stored as it was given, text for text: equal definitions are equal text.
_HAS_CHANGES: dict[str, Any] = {
    "template": "coalesce(%(expressions)s::text <> (SELECT definition::text FROM workflows_workflowversion version"
    " WHERE version.id = workflows_workflow.current_version_id), true)",
    "output_field": BooleanField(),
}


class WorkflowQuerySet(SoftDeleteTenantQuerySet):  # type: ignore[override] # the stubs mistake as_manager of two bases
    def with_current(self) -> "WorkflowQuerySet":
        """With the current version and the labels, in the same query."""
        return self.select_related("current_version").annotate(label_numbers=Func(F("pk"), **_LABEL_NUMBERS))

    def summarized(self) -> "WorkflowQuerySet":
        """What lists show: without definitions, with the current version's number and the labels, in one query."""
        numbers = F("current_version__version_number")
        changes = Func(F("draft"), **_HAS_CHANGES)
        labels = Func(F("pk"), **_LABEL_NUMBERS)
        return self.defer("draft").annotate(current_number=numbers, has_changes=changes, label_numbers=labels)

    def in_folder(self, folder: str) -> "WorkflowQuerySet":
        """Those whose slug starts with this folder."""
        return self.filter(slug__startswith=folder.strip("/") + "/")


class Workflow(SoftDeleteTenantModel):
    """A named workflow. `draft` is what is being edited, valid or not; publishing it makes a version.

    `current_version` is the newest one, null before the first. `max_concurrent_runs` null means no limit of its own.
    """

    slug = models.CharField(max_length=SLUG_LENGTH, validators=[SLUG])
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True, max_length=5000)
    tags = ArrayField(models.CharField(max_length=TAG_LENGTH), default=list, blank=True, size=MAX_TAGS)
    draft = OrderedJSONField(default=dict)
    current_version = models.ForeignKey(
        "WorkflowVersion", on_delete=models.RESTRICT, related_name="+", db_index=False, null=True, editable=False
    )
    is_active = models.BooleanField(default=True)
    max_concurrent_runs = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )

    objects: ClassVar[Any] = WorkflowQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "slug"],
                condition=Q(deleted_at__isnull=True),
                name="workflows_workflow_slug_unique",
            ),
            models.CheckConstraint(
                condition=Q(max_concurrent_runs__isnull=True) | Q(max_concurrent_runs__gte=1),
                name="workflows_workflow_concurrency_positive",
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="workflows_workflow_newest"),
            GinIndex(fields=["tags"], name="workflows_workflow_tags"),
        ]

    def __str__(self) -> str:
        return self.slug

    label_numbers: dict[str, int] | None  # only there when `with_current` or `summarized` read it
    current_number: int | None  # these two only when `summarized` did
    has_changes: bool

    @property
    def labels(self) -> dict[str, int]:
        """Label → version number; without a query on those of `with_current`."""
        if hasattr(self, "label_numbers"):
            return self.label_numbers or {}
        return dict(self.label_set.order_by("name").values_list("name", "version__version_number"))

    @property
    def version_number(self) -> int | None:
        """Of the current version."""
        if hasattr(self, "current_number"):
            return self.current_number
        return self.current_version.version_number if self.current_version is not None else None

    @property
    def has_unpublished_changes(self) -> bool:
        """Whether publishing would say something else than the current version does."""
        if hasattr(self, "has_changes"):
            return self.has_changes
        return self.current_version is None or dumps(self.draft) != dumps(self.current_version.definition)


class WorkflowVersionQuerySet(TenantQuerySet):
    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("Versions of workflows are immutable.")

    def delete(self) -> NoReturn:
        raise TypeError("Versions of workflows are immutable.")


class WorkflowVersion(TenantModel):
    """One immutable, valid definition. The database refuses changes too (see the first migration).

    `pins` are what its references were resolved to when it was published, by node id: a prompt's version, a model,
    another workflow's version.
    """

    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="versions", db_index=False)
    version_number = models.PositiveIntegerField()
    definition = OrderedJSONField()
    pins = OrderedJSONField(default=dict)
    message = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )

    objects: ClassVar[Any] = WorkflowVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-version_number", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["workflow", "version_number"], name="workflows_workflowversion_number_unique"
            ),
            models.CheckConstraint(
                condition=Q(version_number__gte=1), name="workflows_workflowversion_number_positive"
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.version_number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Versions of workflows are immutable.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Versions of workflows are immutable.")


class WorkflowLabel(TenantModel):
    """A name for one version of a workflow, such as `production`."""

    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="label_set", db_index=False)
    name = models.CharField(max_length=LABEL_LENGTH, validators=[LABEL])
    version = models.ForeignKey(WorkflowVersion, on_delete=models.RESTRICT, related_name="label_set")

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["workflow", "name"], name="workflows_workflowlabel_unique")]

    def __str__(self) -> str:
        return self.name


class WorkflowLabelEvent(TenantModel):
    """One move of a label: from no version when it was set first, to none when it was removed."""

    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="label_events", db_index=False)
    name = models.CharField(max_length=LABEL_LENGTH)
    from_version = models.ForeignKey(
        WorkflowVersion, on_delete=models.RESTRICT, null=True, related_name="+", db_index=False
    )
    to_version = models.ForeignKey(
        WorkflowVersion, on_delete=models.RESTRICT, null=True, related_name="+", db_index=False
    )
    reason = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(from_version__isnull=False) | Q(to_version__isnull=False),
                name="workflows_workflowlabelevent_moves",
            )
        ]
        indexes = [models.Index(fields=["workflow", "name", "-created_at"], name="workflows_labelevent_history")]

    def __str__(self) -> str:
        return f"{self.name} at {self.created_at:%Y-%m-%d %H:%M}"


# Drafts are large and saved often; what they came to is in the versions.
auditlog.register(Workflow, exclude_fields=["updated_at"], mask_fields=["draft"])
auditlog.register(WorkflowLabel, exclude_fields=["updated_at"])
