from django.db import migrations

FORWARD = """
CREATE FUNCTION prompts_refuse_version_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.created_by_id IS NULL AND to_jsonb(NEW) - 'created_by_id' = to_jsonb(OLD) - 'created_by_id' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'versions of prompts are immutable' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER prompts_promptversion_immutable BEFORE UPDATE ON prompts_promptversion
    FOR EACH ROW EXECUTE FUNCTION prompts_refuse_version_update();
"""
BACKWARD = """
DROP TRIGGER prompts_promptversion_immutable ON prompts_promptversion;
DROP FUNCTION prompts_refuse_version_update();
"""


class Migration(migrations.Migration):
    """Only the author of a version may still be forgotten, when the user is deleted."""

    dependencies = [("prompts", "0001_initial")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
