import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('organizations', '0006_events_of_evaluations'),
    ]

    operations = [
        migrations.AlterField(
            model_name='webhookdelivery',
            name='event_type',
            field=models.CharField(choices=[('execution.completed', 'Execution Completed'), ('execution.failed', 'Execution Failed'), ('execution.cancelled', 'Execution Cancelled'), ('batch.completed', 'Batch Completed'), ('budget.alert', 'Budget Alert'), ('workflow_run.completed', 'Workflow Run Completed'), ('workflow_run.failed', 'Workflow Run Failed'), ('workflow_run.cancelled', 'Workflow Run Cancelled'), ('approval.requested', 'Approval Requested'), ('evaluation.completed', 'Evaluation Completed'), ('evaluation.failed', 'Evaluation Failed'), ('evaluation.cancelled', 'Evaluation Cancelled'), ('ab_test.paused', 'Ab Test Paused'), ('alert.fired', 'Alert Fired'), ('alert.resolved', 'Alert Resolved'), ('webhook.test', 'Webhook Test')], max_length=64),
        ),
        migrations.AlterField(
            model_name='webhookendpoint',
            name='event_types',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('execution.completed', 'Execution Completed'), ('execution.failed', 'Execution Failed'), ('execution.cancelled', 'Execution Cancelled'), ('batch.completed', 'Batch Completed'), ('budget.alert', 'Budget Alert'), ('workflow_run.completed', 'Workflow Run Completed'), ('workflow_run.failed', 'Workflow Run Failed'), ('workflow_run.cancelled', 'Workflow Run Cancelled'), ('approval.requested', 'Approval Requested'), ('evaluation.completed', 'Evaluation Completed'), ('evaluation.failed', 'Evaluation Failed'), ('evaluation.cancelled', 'Evaluation Cancelled'), ('ab_test.paused', 'Ab Test Paused'), ('alert.fired', 'Alert Fired'), ('alert.resolved', 'Alert Resolved'), ('webhook.test', 'Webhook Test')], max_length=64), size=None),
        ),
    ]
