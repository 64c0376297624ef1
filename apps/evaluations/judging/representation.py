"""Agreements of judges as they are answered."""

from typing import Any

from apps.evaluations.models import EvaluatorVersion, JudgeAgreement

Json = dict[str, Any]


def represent_agreement(agreement: JudgeAgreement) -> Json:
    return {
        "id": agreement.id,
        "evaluator_id": agreement.evaluator_version.evaluator_id,
        "version": agreement.evaluator_version.version_number,
        "evaluation_id": agreement.evaluation_id,
        "subject": agreement.subject,
        "label": agreement.label,
        "weighting": agreement.weighting,
        "threshold": agreement.threshold,
        "n": agreement.n,
        "n_missing": agreement.n_missing,
        "n_unlabelled": agreement.n_unlabelled,
        "kappa": agreement.kappa,
        "ci_low": agreement.ci_low,
        "ci_high": agreement.ci_high,
        "categories": agreement.categories,
        "confusion": agreement.confusion,
        "provider_model": agreement.provider_model,
        "created_by": agreement.created_by_id,
        "created_at": agreement.created_at,
    }


def represent_standing(version: EvaluatorVersion, reason: str | None, newest: JudgeAgreement | None) -> Json:
    return {
        "evaluator_id": version.evaluator_id,
        "version": version.version_number,
        "may_gate": reason is None,
        "reason": reason,
        "agreement": newest and represent_agreement(newest),
    }
