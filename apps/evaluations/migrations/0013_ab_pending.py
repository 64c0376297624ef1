from django.db import migrations

FORWARD = """
CREATE FUNCTION evaluations_ab_execution() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO evaluations_abpending (test_id, kind, ref_id) VALUES (NEW.ab_test_id, 'execution', NEW.id);
    RETURN NULL;
END
$$;
CREATE FUNCTION evaluations_ab_score() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO evaluations_abpending (test_id, kind, ref_id)
    SELECT ab_test_id, 'score', NEW.id FROM executions_execution
    WHERE id = NEW.execution_id AND ab_test_id IS NOT NULL;
    RETURN NULL;
END
$$;
CREATE FUNCTION evaluations_ab_observation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO evaluations_abpending (test_id, kind, ref_id) VALUES (NEW.test_id, 'observation', NEW.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER evaluations_ab_execution_ended AFTER UPDATE OF finished_at ON executions_execution FOR EACH ROW
    WHEN (NEW.ab_test_id IS NOT NULL AND OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
    EXECUTE FUNCTION evaluations_ab_execution();
CREATE TRIGGER evaluations_ab_execution_stored AFTER INSERT ON executions_execution FOR EACH ROW
    WHEN (NEW.ab_test_id IS NOT NULL AND NEW.finished_at IS NOT NULL)
    EXECUTE FUNCTION evaluations_ab_execution();
CREATE TRIGGER evaluations_ab_score_stored AFTER INSERT ON executions_score FOR EACH ROW
    WHEN (NEW.number IS NOT NULL) EXECUTE FUNCTION evaluations_ab_score();
CREATE TRIGGER evaluations_ab_observation_stored AFTER INSERT ON evaluations_abobservation FOR EACH ROW
    EXECUTE FUNCTION evaluations_ab_observation();
"""
BACKWARD = """
DROP TRIGGER evaluations_ab_observation_stored ON evaluations_abobservation;
DROP TRIGGER evaluations_ab_score_stored ON executions_score;
DROP TRIGGER evaluations_ab_execution_stored ON executions_execution;
DROP TRIGGER evaluations_ab_execution_ended ON executions_execution;
DROP FUNCTION evaluations_ab_observation();
DROP FUNCTION evaluations_ab_score();
DROP FUNCTION evaluations_ab_execution();
"""


class Migration(migrations.Migration):
    """Whatever ends an execution of a test, or scores one, leaves word for the collector in the same transaction."""

    dependencies = [("evaluations", "0012_ab_tests"), ("executions", "0013_ab_phase")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
