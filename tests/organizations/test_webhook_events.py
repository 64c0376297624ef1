"""What an event leaves behind in the transaction of what happened."""

import pytest
from django.db import transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.organizations.models import EventType, WebhookDelivery
from apps.organizations.webhooks import emit
from apps.organizations.webhooks.jobs import TASK

COMPLETED = EventType.EXECUTION_COMPLETED


def test_each_endpoint_that_asks_gets_a_delivery_and_a_job(organization, outsider, make_endpoint):
    wanted = {make_endpoint(organization).id, make_endpoint(organization, event_types=EventType.values).id}
    make_endpoint(organization, event_types=[EventType.BATCH_COMPLETED])
    make_endpoint(organization, is_active=False)
    make_endpoint(organization).soft_delete()
    make_endpoint(outsider.organization)
    assert emit(organization_id=organization.id, event="execution.completed", data={"id": organization.id}) == 2
    deliveries = list(WebhookDelivery.objects.all())
    assert {delivery.endpoint_id for delivery in deliveries} == wanted
    assert len({delivery.event_id for delivery in deliveries}) == 1
    jobs = ProcrastinateJob.objects.filter(task_name=TASK)
    assert {(job.id, job.args["delivery_id"]) for job in jobs} == {(d.job_id, str(d.id)) for d in deliveries}
    payload = deliveries[0].payload
    assert (payload["type"], payload["data"]) == ("execution.completed", {"id": str(organization.id)})


def test_without_an_endpoint_an_event_costs_one_query(organization, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert emit(organization_id=organization.id, event=COMPLETED, data={}) == 0


@pytest.mark.django_db(transaction=True)
def test_an_event_of_a_write_that_is_undone_is_not_told(organization, make_endpoint, empty_queue):
    make_endpoint(organization)
    with transaction.atomic():
        assert emit(organization_id=organization.id, event=COMPLETED, data={}) == 1
        transaction.set_rollback(True)
    assert not WebhookDelivery.objects.exists()
    assert not ProcrastinateJob.objects.filter(task_name=TASK).exists()


@pytest.mark.django_db(transaction=True)
def test_an_event_outside_of_a_transaction_is_a_mistake(organization):
    with pytest.raises(RuntimeError):
        emit(organization_id=organization.id, event=COMPLETED, data={})


def test_an_unknown_event_is_a_mistake(organization):
    with pytest.raises(ValueError, match=r"execution\.exploded"):
        emit(organization_id=organization.id, event="execution.exploded", data={})
