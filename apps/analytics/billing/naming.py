"""What prompts, models, users and API keys are called on bills, also when they are there no more."""

from collections.abc import Collection
from datetime import date
from typing import Any
from uuid import UUID

from django.db import connection

from apps.analytics.models import LedgerName
from apps.models.models import LLMModel
from apps.prompts.models import Prompt
from apps.users.models import ApiKey, User

Kind = LedgerName.Kind

_REMEMBER = """
WITH lines AS (
    SELECT DISTINCT prompt_id, model_id, user_id, api_key_id FROM analytics_ledgerday
    WHERE organization_id = %(organization)s AND day = %(day)s
)
INSERT INTO analytics_ledgername (organization_id, kind, object_id, name)
SELECT %(organization)s, kind, id, name FROM (
    SELECT 'prompt' AS kind, id, slug AS name FROM prompts_prompt
    WHERE organization_id = %(organization)s AND id IN (SELECT prompt_id FROM lines)
    UNION ALL
    SELECT 'model', id, slug FROM models_llmmodel
    WHERE organization_id = %(organization)s AND id IN (SELECT model_id FROM lines)
    UNION ALL
    SELECT 'user', id, email FROM users_user WHERE id IN (SELECT user_id FROM lines)
    UNION ALL
    SELECT 'api_key', id, name FROM users_apikey
    WHERE organization_id = %(organization)s AND id IN (SELECT api_key_id FROM lines)
) AS known ORDER BY kind, id
ON CONFLICT (organization_id, kind, object_id) DO UPDATE SET name = excluded.name
WHERE analytics_ledgername.name <> excluded.name
"""


def remember_names(organization_id: UUID, day: date) -> None:
    """Of all that the ledger's lines of this day are of."""
    with connection.cursor() as cursor:
        cursor.execute(_REMEMBER, {"organization": organization_id, "day": day})


def names_of(organization_id: UUID, kind: str, ids: Collection[UUID]) -> dict[UUID, str]:
    """What they are called now, or were when the ledger was last written; without those that nothing is known of.

    Ids are of the organization's own executions.
    """
    if not ids:
        return {}
    live = dict(_live(organization_id, kind).filter(id__in=ids).values_list("id", _FIELDS[kind]))
    gone = [one for one in ids if one not in live]
    if not gone:
        return live
    kept = LedgerName.objects.for_organization(organization_id).filter(kind=kind, object_id__in=gone)
    return live | dict(kept.values_list("object_id", "name"))


_FIELDS: dict[str, str] = {Kind.PROMPT: "slug", Kind.MODEL: "slug", Kind.USER: "email", Kind.API_KEY: "name"}


def _live(organization_id: UUID, kind: str) -> Any:
    if kind == Kind.USER:
        return User.objects.all()
    models: dict[str, Any] = {Kind.PROMPT: Prompt, Kind.MODEL: LLMModel, Kind.API_KEY: ApiKey}
    return models[kind].objects.for_organization(organization_id)
