"""Everything that writes prompts."""

from apps.prompts.services.definition import DEFAULTS, Definition, check_definition, definition_of
from apps.prompts.services.prompts import (
    create_prompt,
    delete_prompt,
    duplicate_prompt,
    undelete_prompt,
    update_prompt,
)
from apps.prompts.services.transfer import OnConflict, export_prompts, import_prompts
from apps.prompts.services.versions import create_version, restore_version

__all__ = [
    "DEFAULTS",
    "Definition",
    "OnConflict",
    "check_definition",
    "create_prompt",
    "create_version",
    "definition_of",
    "delete_prompt",
    "duplicate_prompt",
    "export_prompts",
    "import_prompts",
    "restore_version",
    "undelete_prompt",
    "update_prompt",
]
