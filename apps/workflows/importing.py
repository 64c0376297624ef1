"""Workflows from files on this machine."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.db import transaction

from apps.organizations.models import Organization
from apps.prompts.services import OnConflict
from apps.users.models import User
from apps.workflows.definition.transfer import load_yaml
from apps.workflows.models import Workflow
from apps.workflows.serializers import WorkflowDocumentSerializer
from apps.workflows.services.transfer import import_workflow
from everquant.api.parsers import check_json


def import_files(
    paths: Iterable[Path],
    *,
    organization: Organization,
    author: User | None,
    on_conflict: OnConflict,
    is_published: bool,
) -> list[tuple[Workflow, str]]:
    """All of the files (YAML, of which JSON is a part) or none: each workflow with what became of it.

    Raises OSError, TransferProblem, ValidationError of the REST framework, ApiError.
    """
    with transaction.atomic():
        return [
            import_workflow(
                organization_id=organization.pk,
                document=read_document(path),
                on_conflict=on_conflict,
                is_published=is_published,
                imported_by=author,
                may_update=True,
            )
            for path in paths
        ]


def read_document(path: Path) -> dict[str, Any]:
    """A checked document. Raises as `import_files`."""
    data = load_yaml(path.read_text(encoding="utf-8"))
    check_json(data)
    serializer = WorkflowDocumentSerializer(data=data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
