"""Evaluators and their versions, and score configs.

These make no savepoint: an error that they raise ends the caller's transaction.
"""

from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.evaluations.models import Evaluator, EvaluatorVersion, ScoreConfig
from apps.evaluations.scoring.configuring import check_configuration
from apps.prompts.naming import change_fields, save_with_slug, slug_of
from apps.users.models import User
from apps.workflows.evaluating import evaluators
from everquant.api.envelope import dumps
from everquant.api.errors import BadRequest, Conflict

Json = Any


@transaction.atomic(savepoint=False)
def create_evaluator(
    *,
    organization_id: UUID,
    name: str,
    kind: str,
    created_by: User | None,
    config: dict[str, Json] | None = None,
    score_config: ScoreConfig | None = None,
    slug: str | None = None,
    description: str = "",
    message: str = "",
) -> Evaluator:
    """An evaluator and its version 1. Without a slug it is made of the name.

    Raises BadRequest for what is not valid, Conflict when a living evaluator has the slug.
    """
    said = config or {}
    check_configuration(organization_id=organization_id, kind=kind, config=said, score_config=score_config)
    evaluator = Evaluator(
        organization_id=organization_id,
        slug=slug or slug_of(name),
        name=name,
        description=description,
        kind=kind,
        created_by=created_by,
    )
    version = _version(evaluator, 1, said, score_config, message, created_by)
    evaluator.current_version = version
    save_with_slug(evaluator, force_insert=True)
    version.save(force_insert=True)
    return evaluator


@transaction.atomic(savepoint=False)
def update_evaluator(*, evaluator: Evaluator, changes: dict[str, Json], updated_by: User | None) -> Evaluator:
    """Set slug, name and description in place; a `config` or `score_config` that differs makes a version.

    The evaluator is locked. Raises BadRequest also for another `kind`, Conflict when the slug is taken.
    """
    fields = dict(changes)
    if fields.pop("kind", evaluator.kind) != evaluator.kind:
        raise BadRequest("The kind is fixed.", details={"kind": f"It is {evaluator.kind}; make another evaluator."})
    message = fields.pop("message", "")
    current: Any = evaluator.current_version
    config = fields.pop("config", current.config)
    score_config = fields.pop("score_config", current.score_config)
    if dumps(config) != dumps(current.config) or score_config != current.score_config:
        check_configuration(
            organization_id=evaluator.organization_id, kind=evaluator.kind, config=config, score_config=score_config
        )
        number = current.version_number + 1
        version = _version(evaluator, number, config, score_config, message, updated_by)
        version.save(force_insert=True)
        evaluator.current_version = version
        evaluator.save_fields("current_version")
    change_fields(evaluator, fields)
    return evaluator


def _version(
    evaluator: Evaluator,
    number: int,
    config: dict[str, Json],
    score_config: ScoreConfig | None,
    message: str,
    created_by: User | None,
) -> EvaluatorVersion:
    return EvaluatorVersion(
        organization_id=evaluator.organization_id,
        evaluator=evaluator,
        version_number=number,
        kind_version=evaluators()[evaluator.kind].version,
        config=config,
        score_config=score_config,
        message=message,
        created_by=created_by,
    )


@transaction.atomic(savepoint=False)
def create_score_config(*, organization_id: UUID, created_by: User | None, **fields: Json) -> ScoreConfig:
    """Raises Conflict when a living one has the name."""
    config = ScoreConfig(organization_id=organization_id, created_by=created_by, **fields)
    _save_with_name(config, force_insert=True)
    return config


@transaction.atomic(savepoint=False)
def update_score_config(*, config: ScoreConfig, changes: dict[str, Json]) -> ScoreConfig:
    """Raises Conflict when the name is taken, and for what evaluators rely on: only name and description may change."""
    different = [name for name, value in changes.items() if getattr(config, name) != value]
    fixed = [name for name in different if name not in {"name", "description"}]
    if fixed and EvaluatorVersion.objects.filter(score_config=config).exists():
        why = "Versions of evaluators rely on it; make another score config."
        raise Conflict(why, details=dict.fromkeys(fixed, why))
    if different:
        for name in different:
            setattr(config, name, changes[name])
        _save_with_name(config, update_fields=[*different, "updated_at"])
    return config


def _save_with_name(config: ScoreConfig, **options: Json) -> None:
    try:
        config.save(**options)
    except IntegrityError as error:
        if "evaluations_scoreconfig_name_unique" not in str(error):
            raise
        taken = "Another score config has this name."
        raise Conflict(taken, details={"name": taken}) from error
