from django.db import migrations

FORWARD = """
CREATE FUNCTION workflows_refuse_version_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.created_by_id IS NULL AND to_jsonb(NEW) - 'created_by_id' = to_jsonb(OLD) - 'created_by_id' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'versions of workflows are immutable' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER workflows_workflowversion_immutable BEFORE UPDATE ON workflows_workflowversion
    FOR EACH ROW EXECUTE FUNCTION workflows_refuse_version_update();
"""
BACKWARD = """
DROP TRIGGER workflows_workflowversion_immutable ON workflows_workflowversion;
DROP FUNCTION workflows_refuse_version_update();
"""


class Migration(migrations.Migration):
    """Only the author of a version may still be forgotten, when the user is deleted."""

    dependencies = [("workflows", "0001_initial")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
