from django.db import migrations

FORWARD = """
CREATE FUNCTION evaluations_refuse_version_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.created_by_id IS NULL AND to_jsonb(NEW) - 'created_by_id' = to_jsonb(OLD) - 'created_by_id' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'versions of datasets and evaluators are immutable' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE FUNCTION evaluations_refuse_item_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.until IS NULL AND NEW.until IS NOT NULL AND to_jsonb(NEW) - 'until' = to_jsonb(OLD) - 'until' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'items of datasets are immutable: end this one and begin another' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER evaluations_datasetversion_immutable BEFORE UPDATE ON evaluations_datasetversion
    FOR EACH ROW EXECUTE FUNCTION evaluations_refuse_version_update();
CREATE TRIGGER evaluations_evaluatorversion_immutable BEFORE UPDATE ON evaluations_evaluatorversion
    FOR EACH ROW EXECUTE FUNCTION evaluations_refuse_version_update();
CREATE TRIGGER evaluations_datasetitem_immutable BEFORE UPDATE ON evaluations_datasetitem
    FOR EACH ROW EXECUTE FUNCTION evaluations_refuse_item_update();
"""
BACKWARD = """
DROP TRIGGER evaluations_datasetversion_immutable ON evaluations_datasetversion;
DROP TRIGGER evaluations_evaluatorversion_immutable ON evaluations_evaluatorversion;
DROP TRIGGER evaluations_datasetitem_immutable ON evaluations_datasetitem;
DROP FUNCTION evaluations_refuse_version_update();
DROP FUNCTION evaluations_refuse_item_update();
"""


class Migration(migrations.Migration):
    """Only the author of a version may still be forgotten, and an item may end."""

    dependencies = [("evaluations", "0001_initial")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
