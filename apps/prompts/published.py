"""What programs read of prompts, kept as ready answers; and what a version or label names."""

from typing import Any
from uuid import UUID

from django.db.models.signals import post_delete, post_save

from apps.prompts.models import PRODUCTION, ABTest, ABVariant, Prompt, PromptLabel, PromptVersion
from everquant.api.answers import AnswerCache
from everquant.api.errors import NotFound

answers = AnswerCache("prompts")


def forget(organization_id: UUID) -> None:
    """After the commit, nothing remembered of this organization's prompts is served any more."""
    answers.forget(organization_id)


def connect_invalidation() -> None:
    """Called once at start: whatever path changes these rows (API, admin, command), the cache learns of it.

    Versions are immutable, and a new one is followed by its prompt, whose current version it becomes.
    """
    for signal in (post_save, post_delete):
        for model in (Prompt, PromptLabel, ABTest, ABVariant):
            signal.connect(_on_change, sender=model, dispatch_uid=f"published.{model.__name__}")


def _on_change(instance: Prompt | PromptLabel | ABTest | ABVariant, **_: Any) -> None:
    forget(instance.organization_id)


def resolve_version(prompt: Prompt, *, version: int | None = None, label: str | None = None) -> PromptVersion:
    """The version asked for: by number, else by label, else `production` when it is set, else the current one.

    With both, the label must name that version. No query for the current version of a prompt of `with_current`.
    Raises NotFound.
    """
    if label is not None and label not in prompt.labels:
        raise NotFound(f"The prompt has no label {label}.", details={"label": "No such label."})
    if label is not None and version not in {None, prompt.labels[label]}:
        raise NotFound(f"The label {label} is elsewhere.", details={"label": "Names another version."})
    number = version if version is not None else prompt.labels.get(label or PRODUCTION)
    if number is None or number == prompt.current_version.version_number:
        return prompt.current_version
    found = PromptVersion.objects.filter(prompt=prompt, version_number=number).first()
    if found is None:
        raise NotFound(f"The prompt has no version {number}.", details={"version": "No such version."})
    return found


def load_by_slug(organization_id: UUID, slug: str, *, version: int | None, label: str | None) -> dict[str, Any]:
    """One or two queries; raises NotFound, also for an inactive prompt."""
    prompts = Prompt.objects.for_organization(organization_id).alive().with_current()
    prompt = prompts.filter(slug=slug, is_active=True).first()
    if prompt is None:
        raise NotFound("No such object.")
    return {**published_prompt(prompt, resolve_version(prompt, version=version, label=label)), "ab_test": None}


def load_bundle(organization_id: UUID, label: str) -> dict[str, Any]:
    """Slug → prompt for every active prompt with this label, in two queries."""
    prompts = Prompt.objects.for_organization(organization_id).alive().with_current()
    found = list(prompts.filter(is_active=True, label_set__name=label).order_by("slug", "id"))
    versions = {
        version.prompt_id: version for version in PromptVersion.objects.filter(prompt__in=found, label_set__name=label)
    }
    return {
        "label": label,
        "prompts": {
            prompt.slug: published_prompt(prompt, versions[prompt.id]) for prompt in found if prompt.id in versions
        },
    }


def published_prompt(prompt: Prompt, version: PromptVersion) -> dict[str, Any]:
    """A prompt as programs read it, with the content of this version."""
    return {
        "id": prompt.id,
        "organization_id": prompt.organization_id,
        "slug": prompt.slug,
        "name": prompt.name,
        "type": prompt.type,
        "version": version.version_number,
        "version_id": version.id,
        **version_definition(version),
        "labels": prompt.labels,
        "tags": prompt.tags,
    }


def version_definition(version: PromptVersion) -> dict[str, Any]:
    """What a version says to a model."""
    return {
        "content": version.content,
        "messages": version.messages,
        "format": version.format,
        "model_id": version.model_id,
        "parameters": version.parameters,
        "tools": version.tools,
        "response_schema": version.response_schema,
        "variables_schema": version.variables_schema,
        "variables": version.variables,
    }
