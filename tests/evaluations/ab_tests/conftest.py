"""A/B tests as rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.utils import timezone

from apps.prompts import published
from apps.prompts.labelling import move_label
from apps.prompts.models import AB_TEST_LIVE, PRODUCTION, ABPhase, ABTest, ABTestStatus, ABVariant, Prompt
from apps.prompts.services.versions import create_version
from tests.evaluations.conftest import *  # noqa: F403 (its fixtures)

AB_TESTS = "/api/v1/ab-tests"
SUCCESS = {"name": "success", "measure": "success", "aggregation": "mean", "direction": "increase"}


@pytest.fixture
def make_ab_test():
    """A test of a prompt (data of the API): the control is what production names, the others have new versions."""

    def make(
        prompt: Mapping[str, Any],
        contents: Sequence[str] = ("Dear {{name}},",),
        *,
        weights: Sequence[float] = (),
        status: str = ABTestStatus.RUNNING,
        metrics: Sequence[Mapping[str, Any]] = (SUCCESS,),
        **fields: Any,
    ) -> ABTest:
        owner = Prompt.objects.get(id=prompt["id"])
        control = owner.current_version
        if PRODUCTION not in owner.labels:
            move_label(owner=owner, name=PRODUCTION, version=control, moved_by=None, may_move_protected=True)
        versions = [control]
        versions += [create_version(prompt=owner, changes={"content": each}, created_by=None) for each in contents]
        shares = list(weights) or [1 / len(versions)] * len(versions)
        now = timezone.now()
        if status != ABTestStatus.DRAFT:
            fields = {"phase": 1, "started_at": now, "planned_units": 1000, **fields}
        common = {"organization_id": owner.organization_id}
        said = {"name": "Greeting", "primary_metric": metrics[0]["name"], "min_effect": 0.05, **fields}
        test = ABTest.objects.create(prompt=owner, status=status, metrics=list(metrics), **common, **said)
        for position, (version, weight) in enumerate(zip(versions, shares, strict=True)):
            name = f"candidate-{position}" if position else "control"
            place = {"position": position, "is_control": not position}
            ABVariant.objects.create(test=test, name=name, weight=weight, version=version, **place, **common)
        if status in AB_TEST_LIVE:
            by_name = {variant.name: variant.weight for variant in test.variants.all()}
            ABPhase.objects.create(test=test, number=1, weights=by_name, started_at=now, **common)
        published.forget(owner.organization_id)
        return test

    return make
