"""Waiting calls have a bound; beyond it they are refused at once, and reads go on."""

import threading

import pytest

from everquant.api.bulkhead import WAITING_CALLS, Bulkhead
from everquant.api.errors import ServiceUnavailable
from everquant.metrics import BULKHEAD_REFUSALS, WAITING
from tests.executions.conftest import EXECUTIONS, PROMPTS
from tests.upstream import Behaviour


@pytest.mark.django_db(transaction=True)
def test_beyond_the_bound_a_call_is_a_503_and_reads_go_on(prompt, editor, upstream, settings):
    settings.WEB_WAITING_SLOTS = 1
    upstream.answer_always(Behaviour(stall_before_token=True))
    settings.PROVIDER_TOTAL_TIMEOUT = 1.0
    url, body = f"{PROMPTS}/{prompt['id']}/execute", {"variables": {"name": "Ada"}}
    held = threading.Thread(target=lambda: editor.client.post(url, body))
    held.start()
    upstream.wait_for(lambda server: server.request_count == 1)
    refusals = BULKHEAD_REFUSALS._value.get()
    for stream in (False, True):
        refused = type(editor.client)(**editor.client.defaults).post(url, {**body, "stream": stream})
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"
    assert BULKHEAD_REFUSALS._value.get() == refusals + 2
    assert (WAITING_CALLS.taken, WAITING._value.get()) == (1, 1)
    assert type(editor.client)(**editor.client.defaults).get(EXECUTIONS).status_code == 200
    held.join(10)
    assert (WAITING_CALLS.taken, WAITING._value.get()) == (0, 0)


@pytest.mark.django_db
@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_request_gives_its_slot_back(prompt, editor, stream):
    body = {"variables": {}, "stream": stream}
    assert editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body).status_code == 400
    assert WAITING_CALLS.taken == 0


def test_a_slot_is_given_back_once():
    bulkhead = Bulkhead(lambda: 2)
    first, second = bulkhead.enter(), bulkhead.enter()
    with pytest.raises(ServiceUnavailable):
        bulkhead.enter()
    first.release()
    first.release()
    assert bulkhead.taken == 1
    with bulkhead.enter():
        assert bulkhead.taken == 2
    second.release()
    assert bulkhead.taken == 0
