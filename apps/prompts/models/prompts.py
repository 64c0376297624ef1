"""Prompts, their immutable versions, and the labels that point at versions."""

import re
from typing import Any, ClassVar, NoReturn

from auditlog.registry import auditlog
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Func, Q

from apps.models.models import LLMModel
from apps.organizations.models import SoftDeleteTenantModel, SoftDeleteTenantQuerySet, TenantModel, TenantQuerySet
from apps.prompts.fields import OrderedJSONField
from apps.prompts.rendering import CompiledPrompt, compile_prompt

PRODUCTION = "production"
SLUG_LENGTH = 200
SLUG_PATTERN = "[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*){0,7}"
SLUG = RegexValidator(
    rf"\A{SLUG_PATTERN}\Z", "Lower-case letters, digits and single hyphens, in up to 8 folders separated by '/'."
)
LABEL_LENGTH = 64
LABEL_PATTERN = "[a-z][a-z0-9]*([-_.][a-z0-9]+)*"
LABEL = RegexValidator(
    rf"\A{LABEL_PATTERN}\Z", "Lower-case letters, digits and single '-', '_' or '.', a letter first."
)
TAG_LENGTH = 50
MAX_TAGS = 20


def is_slug(text: str) -> bool:
    return len(text) <= SLUG_LENGTH and re.fullmatch(SLUG_PATTERN, text) is not None


def is_label(text: str) -> bool:
    return len(text) <= LABEL_LENGTH and re.fullmatch(LABEL_PATTERN, text) is not None


# One expression that is quick to compile: lists of prompts are read often.
LABEL_NUMBERS: dict[str, Any] = {
    "template": "(SELECT json_object_agg(label.name, version.version_number ORDER BY label.name)"
    " FROM prompts_promptlabel label JOIN prompts_promptversion version ON version.id = label.version_id"
    " WHERE label.prompt_id = %(expressions)s)",
    "output_field": OrderedJSONField(),
}


class PromptQuerySet(SoftDeleteTenantQuerySet):  # type: ignore[override] # the stubs mistake as_manager of two bases
    def with_current(self) -> "PromptQuerySet":
        """With the current version and the labels, in the same query."""
        return self.select_related("current_version").annotate(label_numbers=Func(F("pk"), **LABEL_NUMBERS))

    def in_folder(self, folder: str) -> "PromptQuerySet":
        """Those whose slug starts with this folder."""
        return self.filter(slug__startswith=folder.strip("/") + "/")


class Prompt(SoftDeleteTenantModel):
    """A named prompt. What it says is in its versions; the newest is the current one.

    A deleted prompt keeps its slug for its restoration, but does not hold it against others.
    """

    class Type(models.TextChoices):
        TEXT = "text"
        CHAT = "chat"

    slug = models.CharField(max_length=SLUG_LENGTH, validators=[SLUG])
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True, max_length=5000)
    type = models.CharField(max_length=8, choices=Type.choices, editable=False)
    tags = ArrayField(models.CharField(max_length=TAG_LENGTH), default=list, blank=True, size=MAX_TAGS)
    current_version = models.ForeignKey(
        "PromptVersion", on_delete=models.RESTRICT, related_name="+", db_index=False, editable=False
    )
    is_active = models.BooleanField(default=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )

    objects: ClassVar[Any] = PromptQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "slug"], condition=Q(deleted_at__isnull=True), name="prompts_prompt_slug_unique"
            ),
            models.CheckConstraint(condition=Q(type__in=["text", "chat"]), name="prompts_prompt_type_known"),
        ]
        indexes = [
            models.Index(fields=["organization", "-created_at", "-id"], name="prompts_prompt_newest"),
            GinIndex(fields=["tags"], name="prompts_prompt_tags"),
        ]

    def __str__(self) -> str:
        return self.slug

    label_numbers: dict[str, int] | None  # only there when `with_current` read it

    @property
    def labels(self) -> dict[str, int]:
        """Label → version number; without a query on new instances and those of `with_current`."""
        if hasattr(self, "label_numbers"):
            return self.label_numbers or {}
        return dict(self.label_set.order_by("name").values_list("name", "version__version_number"))


class PromptVersionQuerySet(TenantQuerySet):
    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("Versions of prompts are immutable.")

    def delete(self) -> NoReturn:
        raise TypeError("Versions of prompts are immutable.")


class PromptVersion(TenantModel):
    """One immutable state of a prompt. The database refuses changes too (see the first migration)."""

    class Format(models.TextChoices):
        SIMPLE = "simple"
        JINJA2 = "jinja2"

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="versions", db_index=False)
    version_number = models.PositiveIntegerField()
    content = models.TextField(null=True)  # noqa: DJ001 (null says: a chat prompt)
    messages = OrderedJSONField(null=True)
    format = models.CharField(max_length=8, choices=Format.choices, default=Format.SIMPLE)
    model = models.ForeignKey(LLMModel, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    parameters = OrderedJSONField(default=dict)
    tools = OrderedJSONField(default=list)
    response_schema = OrderedJSONField(null=True)
    variables_schema = OrderedJSONField(null=True)
    variables = OrderedJSONField(default=list)
    message = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )

    objects: ClassVar[Any] = PromptVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-version_number", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["prompt", "version_number"], name="prompts_promptversion_number_unique"),
            models.CheckConstraint(
                condition=Q(content__isnull=True) ^ Q(messages__isnull=True), name="prompts_promptversion_one_body"
            ),
            models.CheckConstraint(
                condition=Q(format__in=["simple", "jinja2"]), name="prompts_promptversion_format_known"
            ),
            models.CheckConstraint(condition=Q(version_number__gte=1), name="prompts_promptversion_number_positive"),
        ]

    def __str__(self) -> str:
        return f"version {self.version_number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Versions of prompts are immutable.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Versions of prompts are immutable.")

    def compiled(self) -> CompiledPrompt:
        """Ready to render; templates are compiled once in each process."""
        return compile_prompt(
            content=self.content, messages=self.messages, format=self.format, variables_schema=self.variables_schema
        )


class PromptLabel(TenantModel):
    """A name for one version of a prompt, such as `production`. Publishing moves it."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="label_set", db_index=False)
    name = models.CharField(max_length=LABEL_LENGTH, validators=[LABEL])
    version = models.ForeignKey(PromptVersion, on_delete=models.RESTRICT, related_name="label_set")

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["prompt", "name"], name="prompts_promptlabel_unique")]
        indexes = [models.Index(fields=["organization", "name"], name="prompts_promptlabel_name")]

    def __str__(self) -> str:
        return self.name


class PromptLabelEvent(TenantModel):
    """One move of a label: from no version when it was set first, to none when it was removed."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="label_events", db_index=False)
    name = models.CharField(max_length=LABEL_LENGTH)
    from_version = models.ForeignKey(
        PromptVersion, on_delete=models.RESTRICT, null=True, related_name="+", db_index=False
    )
    to_version = models.ForeignKey(
        PromptVersion, on_delete=models.RESTRICT, null=True, related_name="+", db_index=False
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
                name="prompts_promptlabelevent_moves",
            )
        ]
        indexes = [models.Index(fields=["prompt", "name", "-created_at"], name="prompts_labelevent_history")]

    def __str__(self) -> str:
        return f"{self.name} at {self.created_at:%Y-%m-%d %H:%M}"


auditlog.register(Prompt, exclude_fields=["updated_at"])
auditlog.register(PromptLabel, exclude_fields=["updated_at"])
