from django.db import migrations

PENDING = ("analytics_pendingexecution", "analytics_pendingscore")
ROLLUPS = ("analytics_executionrollup", "analytics_scorerollup")
# Rows of the first come and go all the time; those of the others are changed in place while there is room beside them.
FORWARD = "".join(
    f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);"
    for table in PENDING
) + "".join(f"ALTER TABLE {table} SET (fillfactor = 85);" for table in ROLLUPS)
BACKWARD = "".join(
    f"ALTER TABLE {table} RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);" for table in PENDING
) + "".join(f"ALTER TABLE {table} RESET (fillfactor);" for table in ROLLUPS)


class Migration(migrations.Migration):
    """Questions read what waits in the pending tables: what is gone there must not be in the way for long."""

    dependencies = [("analytics", "0005_alerts")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
