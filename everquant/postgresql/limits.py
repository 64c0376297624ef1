"""How long a statement may take, by the kind of process."""

from django.db import connections


def limit_statements(seconds: float) -> None:
    """From now on PostgreSQL ends what this process asks and what takes longer. Call it before the first connection.

    For web and worker; a migration or another command of an operator may take its time.
    """
    options = connections.settings["default"]["OPTIONS"]
    options["options"] = f"{options.get('options', '')} -c statement_timeout={int(seconds * 1000)}".strip()
