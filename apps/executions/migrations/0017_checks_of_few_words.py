"""The same checks in fewer words: PostgreSQL parses and plans a table's checks anew for each statement that writes.

For the beginning and the end of an execution that was a fifth of its processor time, most of it for lists of varchar
that are cast to text, and for one check of each number. The models say what they mean; here it is said shortly.

Each new check is added unproven, which takes no time, in the statement that drops what it replaces; what is stored is
then proven beside everything that reads and writes.
"""

from django.db import migrations, models
from django.db.models import Q

EXECUTION, ATTEMPT = "executions_execution", "executions_executionattempt"
NUMBERS = {
    EXECUTION: (
        "version_number", "batch_row", "ab_phase", "input_tokens", "cached_input_tokens", "cache_write_tokens",
        "cache_write_1h_tokens", "output_tokens", "reasoning_tokens", "queue_ms", "latency_ms", "first_token_ms",
        "attempt_count",
    ),
    ATTEMPT: ("number", "status", "latency_ms", "first_token_ms", "input_tokens", "output_tokens"),
}  # fmt: skip
ENDS = ("succeeded", "failed", "cancelled")
STATES = ("queued", "running", *ENDS)
SOURCES = ("api", "batch", "workflow", "evaluation", "judge", "gateway")


def in_list(column, values):
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def in_array(column, values):
    """A constant of the array's own type, so that nothing is cast."""
    return f"{column} = ANY ('{{{','.join(values)}}}'::text[])"


LONG = {
    EXECUTION: {
        "status_known": in_list("status", STATES),
        "source_known": in_list("source", SOURCES),
        "end_has_time": f"{in_list('status', ENDS)} AND finished_at IS NOT NULL"
        f" OR NOT ({in_list('status', ENDS)}) AND finished_at IS NULL",
        "failure_has_code": "NOT (error_code = '') AND status = 'failed' OR NOT (status = 'failed') AND error_code = ''",
    },
    ATTEMPT: {},
}
SHORT = {
    EXECUTION: {
        "status_known": in_array("status", STATES),
        "source_known": in_array("source", SOURCES),
        "end_has_time": f"({in_array('status', ENDS)}) = (finished_at IS NOT NULL)",
        "failure_has_code": "(status = 'failed') = (error_code <> '')",
    },
    ATTEMPT: {},
}
for table, names in NUMBERS.items():
    LONG[table] |= {f"{name}_check": f"{name} >= 0" for name in names}
    # NULLs are left out, as each check of its own passes them.
    SHORT[table] |= {"not_negative": f"LEAST({', '.join(names)}) >= 0"}


def replace(table, old, new):
    """Again from the start, if it was interrupted."""
    drops = [f"DROP CONSTRAINT IF EXISTS {table}_{name}" for name in sorted({*old, *new})]
    adds = [f"ADD CONSTRAINT {table}_{name} CHECK ({condition}) NOT VALID" for name, condition in new.items()]
    proofs = [f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_{name};" for name in new]
    return [f"ALTER TABLE {table} {', '.join([*drops, *adds])};", *proofs]


def not_negative(table):
    condition = Q(**{f"{name}__gte": 0 for name in NUMBERS[table]})
    return models.CheckConstraint(condition=condition, name=f"{table}_not_negative")


class Migration(migrations.Migration):
    # What proves must not be one transaction with what needs the table for itself.
    atomic = False

    dependencies = [("executions", "0016_nothing_to_settle")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(replace(table, LONG[table], SHORT[table]), replace(table, SHORT[table], LONG[table]))
            ],
            state_operations=[migrations.AddConstraint(table.removeprefix("executions_"), not_negative(table))],
        )
        for table in (EXECUTION, ATTEMPT)
    ]
