"""What may be done with a test on its page: each from some states, after a form that asks for what it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from apps.evaluations.ab_tests import promoting, services
from apps.evaluations.ab_tests.admin.forms import ConfirmationForm, ForceForm, PromotionForm, ReasonForm
from apps.prompts.models import AB_TEST_TRANSITIONS, ABTest, ABTestStatus
from apps.users.principal import Principal

Perform = Callable[[ABTest, Principal, dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Action:
    """`target` is what the test becomes, `source` the only state that it may come from; `about` says what happens."""

    name: str
    title: str
    done: str
    target: ABTestStatus
    about: str
    form: type[ConfirmationForm]
    perform: Perform
    source: ABTestStatus | None = None
    is_grave: bool = False

    def is_possible(self, test: ABTest) -> bool:
        is_next = self.target in AB_TEST_TRANSITIONS.get(test.status, ())
        return is_next and self.source in {None, test.status} and not test.is_deleted


_ALL = (
    Action(
        "start",
        "Start",
        "started",
        ABTestStatus.RUNNING,
        "From now on the variants share the prompt's traffic by their weights. Versions, models, parameters and "
        "metrics cannot be changed any more.",
        ReasonForm,
        lambda test, by, said: services.start(test=test, by=by, reason=said["reason"]),
        source=ABTestStatus.DRAFT,
    ),
    Action(
        "pause",
        "Pause",
        "paused",
        ABTestStatus.PAUSED,
        "All traffic gets the control, and nothing is counted, until the test is resumed.",
        ReasonForm,
        lambda test, by, said: services.pause(test=test, by=by, reason=said["reason"]),
    ),
    Action(
        "resume",
        "Resume",
        "resumed",
        ABTestStatus.RUNNING,
        "The variants share the traffic again; whoever had a variant gets the same one.",
        ForceForm,
        lambda test, by, said: services.resume(test=test, by=by, reason=said["reason"], force=said["force"]),
        source=ABTestStatus.PAUSED,
    ),
    Action(
        "stop",
        "Stop",
        "stopped",
        ABTestStatus.STOPPED,
        "All traffic goes back to what the prompt gives without the test, and the results are kept as they are now. "
        "A test that was stopped cannot be started again.",
        ReasonForm,
        lambda test, by, said: services.stop(test=test, by=by, reason=said["reason"]),
        is_grave=True,
    ),
    Action(
        "promote",
        "Promote",
        "promoted",
        ABTestStatus.PROMOTED,
        "The label moves to the variant's version, and all traffic with it.",
        PromotionForm,
        lambda test, by, said: promoting.promote(
            test=test, variant=said["variant"], reason=said["reason"], force=said["force"], by=by
        ),
    ),
    Action(
        "rollback",
        "Roll back",
        "rolled back",
        ABTestStatus.ROLLED_BACK,
        "The label goes back to where it was before the promotion. A test that was not promoted ends with everything "
        "as it is.",
        ReasonForm,
        lambda test, by, said: promoting.rollback(test=test, reason=said["reason"], by=by),
        is_grave=True,
    ),
)
ACTIONS = {action.name: action for action in _ALL}


def possible_actions(test: ABTest) -> list[Action]:
    return [action for action in _ALL if action.is_possible(test)]
