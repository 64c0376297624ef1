"""Prompts as one JSON document, out of one organization and into another."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

from django.db import transaction

from apps.models.models import LLMModel
from apps.prompts.labelling import move_label
from apps.prompts.models import Prompt, PromptVersion
from apps.prompts.published import version_definition
from apps.prompts.services.definition import FIELDS, Definition
from apps.prompts.services.prompts import create_prompt, versions_of
from apps.prompts.services.versions import create_version
from apps.users.models import User
from everquant.api.errors import ApiError, BadRequest, Conflict, Forbidden

DOCUMENT = "everquant.prompts/1"
MAX_PROMPTS = 5_000


class OnConflict(StrEnum):
    """What an import does with a slug that is taken: refuse everything, leave it, or add what differs as a version."""

    FAIL = "fail"
    SKIP = "skip"
    VERSION = "version"


def export_prompts(prompts: Iterable[Prompt]) -> dict[str, Any]:
    """The document of these prompts (of `with_current`) with all versions and labels; models by their slug.

    Two queries more than the prompts. Raises BadRequest above MAX_PROMPTS.
    """
    chosen = list(prompts)
    if len(chosen) > MAX_PROMPTS:
        raise BadRequest(f"More than {MAX_PROMPTS} prompts; choose fewer by folder or tag.")
    versions: dict[UUID, list[PromptVersion]] = {prompt.id: [] for prompt in chosen}
    rows = PromptVersion.objects.filter(prompt__in=chosen).select_related("model")
    for version in rows.order_by("prompt_id", "version_number"):
        versions[version.prompt_id].append(version)
    return {"document": DOCUMENT, "prompts": [_exported(prompt, versions[prompt.id]) for prompt in chosen]}


def _exported(prompt: Prompt, versions: list[PromptVersion]) -> dict[str, Any]:
    return {
        "slug": prompt.slug,
        "name": prompt.name,
        "description": prompt.description,
        "tags": prompt.tags,
        "is_active": prompt.is_active,
        "labels": prompt.labels,
        "versions": [_exported_version(version) for version in versions],
    }


def _exported_version(version: PromptVersion) -> dict[str, Any]:
    definition = version_definition(version)
    del definition["model_id"], definition["variables"]
    return {
        "version_number": version.version_number,
        **definition,
        "model": version.model.slug if version.model else None,
        "message": version.message,
    }


@transaction.atomic(savepoint=False)
def import_prompts(
    *,
    organization_id: UUID,
    prompts: list[dict[str, Any]],
    on_conflict: OnConflict,
    imported_by: User | None,
    may_update: bool,
    may_move_protected: bool,
) -> list[dict[str, Any]]:
    """Make the prompts of a checked document, all or none; what became of each, in order.

    Versions are numbered anew from 1 and labels follow them. A refusal names its place: `prompts.3.versions.0...`.
    """
    importer = _Importer(organization_id, on_conflict, imported_by, may_update, may_move_protected)
    importer.prepare(prompts)
    results = []
    for index, prompt in enumerate(prompts):
        try:
            results.append(importer.take(prompt))
        except ApiError as error:
            error.details = {f"prompts.{index}.{path}": why for path, why in error.details.items()} or {
                f"prompts.{index}": error.message
            }
            raise
    return results


class _Importer:
    def __init__(
        self,
        organization_id: UUID,
        on_conflict: OnConflict,
        imported_by: User | None,
        may_update: bool,  # noqa: FBT001, RUF100 (rights, not modes)
        may_move_protected: bool,  # noqa: FBT001, RUF100
    ) -> None:
        self.organization_id = organization_id
        self.on_conflict = on_conflict
        self.user = imported_by
        self.may_update = may_update
        self.may_move_protected = may_move_protected
        self.models: dict[str, LLMModel] = {}
        self.taken: dict[str, Prompt] = {}

    def prepare(self, prompts: list[dict[str, Any]]) -> None:
        """Look up every model and every slug of the document, in two queries."""
        slugs = {version["model"] for prompt in prompts for version in prompt["versions"] if version["model"]}
        models = LLMModel.objects.for_organization(self.organization_id).alive().filter(slug__in=slugs)
        self.models = {model.slug: model for model in models}
        taken = Prompt.objects.for_organization(self.organization_id).alive()
        self.taken = {found.slug: found for found in taken.filter(slug__in=[prompt["slug"] for prompt in prompts])}

    def take(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """What became of one prompt: `{slug, id, outcome}`."""
        existing = self.taken.get(prompt["slug"])
        definitions = [self.definition(index, version) for index, version in enumerate(prompt["versions"])]
        if existing is None:
            made = self.create(prompt, definitions)
            self.taken[made.slug] = made
            return {"slug": made.slug, "id": made.id, "outcome": "created"}
        outcome = self.meet(existing, prompt, definitions[-1])
        return {"slug": existing.slug, "id": existing.id, "outcome": outcome}

    def definition(self, index: int, version: dict[str, Any]) -> Definition:
        slug = version["model"]
        if slug and slug not in self.models:
            where = f"versions.{index}.model"
            raise BadRequest(f"There is no model {slug}.", details={where: f"There is no model {slug}."})
        given = {name: version[name] for name in FIELDS if name != "model"}
        return cast("Definition", {**given, "model": self.models[slug] if slug else None})

    def create(self, prompt: dict[str, Any], definitions: list[Definition]) -> Prompt:
        messages = [version["message"] for version in prompt["versions"]]
        with _within("versions.0"):
            made = create_prompt(
                organization_id=self.organization_id,
                slug=prompt["slug"],
                name=prompt["name"],
                description=prompt["description"],
                tags=prompt["tags"],
                is_active=prompt["is_active"],
                definition=definitions[0],
                message=messages[0],
                created_by=self.user,
            )
        for index, (definition, message) in enumerate(zip(definitions[1:], messages[1:], strict=True), 1):
            with _within(f"versions.{index}"):
                create_version(prompt=made, changes=definition, message=message, created_by=self.user)
        self.label(made, prompt)
        return made

    def label(self, made: Prompt, prompt: dict[str, Any]) -> None:
        if not prompt["labels"]:
            return
        renumbered = {version["version_number"]: number for number, version in enumerate(prompt["versions"], 1)}
        versions = {version.version_number: version for version in versions_of(made)}
        for name, number in prompt["labels"].items():
            version = versions.get(renumbered.get(number, 0))
            if version is None:
                raise BadRequest("No such version.", details={f"labels.{name}": "The document has no such version."})
            move_label(
                owner=made,
                name=name,
                version=version,
                moved_by=self.user,
                may_move_protected=self.may_move_protected,
                reason="Imported",
            )

    def meet(self, existing: Prompt, prompt: dict[str, Any], definition: Definition) -> str:
        if self.on_conflict == OnConflict.FAIL:
            raise Conflict("Another prompt has this slug.", details={"slug": "Another prompt has this slug."})
        if self.on_conflict == OnConflict.SKIP:
            return "skipped"
        if not self.may_update:
            raise Forbidden("prompts:update is needed to add versions to prompts that exist.")
        before = existing.current_version_id
        last = len(prompt["versions"]) - 1
        with _within(f"versions.{last}"):
            create_version(
                prompt=existing,
                changes=definition,
                message=prompt["versions"][last]["message"],
                created_by=self.user,
                even_if_equal=False,
            )
        return "unchanged" if existing.current_version_id == before else "updated"


@contextmanager
def _within(path: str) -> Iterator[None]:
    """Puts a path before the details of a BadRequest that passes through."""
    try:
        yield
    except BadRequest as error:
        error.details = {f"{path}.{where}": why for where, why in error.details.items()}
        raise
