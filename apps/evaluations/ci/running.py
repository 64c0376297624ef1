"""Evaluations that the command starts and waits for."""

import time
from collections.abc import Callable
from typing import Any

from apps.evaluations.ci.client import Client
from apps.evaluations.ci.failures import CommandFailure, UsageFailure

Json = Any
Show = Callable[[Json], None]
_ENDED = {"succeeded", "failed", "cancelled"}
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 3.0


def begin(client: Client, body: Json) -> Json:
    return client.post("evaluations", body)


def begin_for_policy(client: Client, policy_id: str, version: int) -> Json:
    """The version beside the one that the policy's label points at."""
    return client.post(f"promotion-policies/{policy_id}/evaluate", {"version": version})


def resume(client: Client, evaluation_id: str) -> Json:
    """The evaluation, which goes on if it had failed or been cancelled."""
    evaluation = client.get(f"evaluations/{evaluation_id}")
    if evaluation["status"] in {"failed", "cancelled"}:
        return client.post(f"evaluations/{evaluation_id}/resume")
    return evaluation


def cancel(client: Client, evaluation_id: str) -> None:
    """One that has ended meanwhile stays as it is."""
    try:
        client.post(f"evaluations/{evaluation_id}/cancel")
    except UsageFailure:
        if client.get(f"evaluations/{evaluation_id}")["status"] not in _ENDED:
            raise


def follow(client: Client, evaluation: Json, show: Show, timeout_s: float | None = None) -> Json:
    """The evaluation when it has succeeded; `show` is given it again and again until then.

    Raises CommandFailure when it comes to another end, or to none within `timeout_s`.
    """
    started, pause_s = time.monotonic(), _FIRST_PAUSE_S
    while True:
        show(evaluation)
        if evaluation["status"] in _ENDED:
            break
        if timeout_s is not None and time.monotonic() - started > timeout_s:
            raise CommandFailure(f"Evaluation {evaluation['id']} has not ended within {timeout_s:g} s; it goes on.")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.3, _LONGEST_PAUSE_S)
        evaluation = client.get(f"evaluations/{evaluation['id']}")
    if evaluation["status"] != "succeeded":
        error = evaluation["error"] or {"code": evaluation["status"].upper(), "message": ""}
        raise CommandFailure(f"Evaluation {evaluation['id']}: {error['code']} {error['message']}".rstrip())
    return evaluation
