"""Whether a judge agrees with people well enough for a gate to rely on it."""

from django.conf import settings

from apps.evaluations.evaluators.judge import Judge
from apps.evaluations.models import EvaluatorVersion, JudgeAgreement
from apps.models.models import LLMModel
from apps.workflows.evaluating import evaluators

MIN_LABELLED = 30
MAX_MISSING_SHARE = 0.05


def reason_not_to_gate(evaluator_version: EvaluatorVersion) -> str | None:
    """None when a gate may rely on this version's scores.

    It may on whatever is not a model's judgement. Of a judge the newest agreement counts, so that nobody measures
    until one is good enough by luck, and it counts by the lower end of its interval: that is what is known of kappa.
    """
    kind = evaluators().get(evaluator_version.evaluator.kind)
    if not isinstance(kind, Judge):
        return None
    agreement = newest_agreement(evaluator_version)
    if agreement is None:
        return "Its agreement with people has not been measured."
    return _outdated(agreement, kind, evaluator_version) or _insufficient(agreement)


def newest_agreement(evaluator_version: EvaluatorVersion) -> JudgeAgreement | None:
    """With the version itself, which is not read again."""
    found: JudgeAgreement | None = JudgeAgreement.objects.filter(evaluator_version=evaluator_version).first()
    if found is not None:
        found.evaluator_version = evaluator_version
    return found


def _outdated(agreement: JudgeAgreement, kind: Judge, version: EvaluatorVersion) -> str | None:
    models = LLMModel.objects.for_organization(version.organization_id).filter(id=version.config["model_id"])
    if (
        agreement.kind_version != kind.version
        or not models.filter(provider_model_name=agreement.provider_model).exists()
    ):
        return "The judge, or its model, has changed since its agreement with people was measured."
    return None


def _insufficient(agreement: JudgeAgreement) -> str | None:
    if agreement.n < MIN_LABELLED:
        return f"Its agreement was measured on {agreement.n} labelled items; {MIN_LABELLED} are the least."
    missing = agreement.n_missing / (agreement.n + agreement.n_missing)
    if missing > MAX_MISSING_SHARE:
        return f"It gave no judgement of {missing:.0%} of the labelled items; {MAX_MISSING_SHARE:.0%} are the most."
    threshold = max(agreement.threshold, settings.JUDGE_MIN_KAPPA)
    if agreement.ci_low < threshold:
        return (
            f"Its agreement with people is not certain enough: kappa is {agreement.kappa:.2f}, and could be "
            f"{agreement.ci_low:.2f}; {threshold:g} is the least."
        )
    return None
