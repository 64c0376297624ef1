from django.db import migrations

TABLES = ("checkpoint_writes", "checkpoint_blobs", "checkpoints", "checkpoint_migrations")


def make_tables(apps, schema_editor):
    """LangGraph's own migrations; some make an index CONCURRENTLY, which no transaction allows."""
    import psycopg
    from langgraph.checkpoint.postgres import PostgresSaver
    from procrastinate.contrib.django.utils import connector_params
    from psycopg.rows import dict_row

    with psycopg.connect(
        **connector_params(schema_editor.connection.alias), autocommit=True, row_factory=dict_row
    ) as connection:
        PostgresSaver(connection).setup()


def drop_tables(apps, schema_editor):
    for table in TABLES:
        schema_editor.execute(f"DROP TABLE IF EXISTS {table}")


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("workflows", "0003_schedules_and_triggers")]

    operations = [migrations.RunPython(make_tables, drop_tables)]
