"""Workflows to begin with. They are imported in the order of their names: later ones use earlier ones."""

from pathlib import Path

from apps.organizations.models import Organization
from apps.users.models import User

EXAMPLES = tuple(sorted(Path(__file__).parent.glob("*.yaml")))


def add_examples(organization: Organization, author: User) -> None:
    """Publish all of them in an organization that has the prompts of the demo; what is there already stays."""
    from apps.prompts.services import OnConflict  # noqa: PLC0415 (Django's models must be ready)
    from apps.workflows.importing import import_files  # noqa: PLC0415 (it compiles expressions, which takes a second)

    import_files(EXAMPLES, organization=organization, author=author, on_conflict=OnConflict.SKIP, is_published=True)
