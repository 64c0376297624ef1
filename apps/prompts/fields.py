from typing import Any

from django.db import models
from psycopg.types.json import Json

from everquant.api.envelope import dumps


class OrderedJSONField(models.JSONField):
    """JSON as it was given, keys in their order (PostgreSQL's `json`); it has no lookups.

    The order of the properties of a schema is the order in which a model fills them, and `jsonb` would lose it.
    """

    def db_type(self, connection: Any) -> str:
        return "json"

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return value if value is None else Json(value, dumps)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return value
