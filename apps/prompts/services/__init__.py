"""Everything that writes prompts."""

from apps.prompts.labelling import ANY_VERSION
from apps.prompts.services.definition import DEFAULTS, Definition, check_definition, definition_of
from apps.prompts.services.labels import remove_label, set_label
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
    "ANY_VERSION",
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
    "remove_label",
    "restore_version",
    "set_label",
    "undelete_prompt",
    "update_prompt",
]
