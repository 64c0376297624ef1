"""`/healthz`, `/readyz` and `/metrics`: for load balancers, orchestrators and Prometheus."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Max
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from procrastinate.contrib.django.models import ProcrastinateWorker
from psycopg_pool import PoolTimeout

from everquant.cache import RedisAway, with_redis
from everquant.metrics import exposition

WORKER_SILENT_FOR = timedelta(seconds=60)


class CheckFailed(Exception):
    """A part is not ready; the message says how."""


@require_safe
def healthz(_request: HttpRequest) -> JsonResponse:
    """Alive: the process answers. Nothing else is asked."""
    return JsonResponse({"status": "ok"})


@require_safe
def metrics(_request: HttpRequest) -> HttpResponse:
    body, content_type = exposition()
    return HttpResponse(body, content_type=content_type)


@require_safe
def readyz(_request: HttpRequest) -> JsonResponse:
    """Ready when the database answers with every migration applied. Redis and worker are shown; without them
    requests are still served."""
    results = {name: _run(check) for name, check in _CHECKS.items()}
    ready = results["database"]["ok"] and results["migrations"]["ok"]
    return JsonResponse({"status": "ok" if ready else "not ready", "checks": results}, status=200 if ready else 503)


def _run(check: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    try:
        found = check()
    except (CheckFailed, RedisAway, OperationalError, PoolTimeout) as error:
        return {"ok": False, "reason": str(error) or type(error).__name__}
    return {"ok": True, **(found or {})}


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


_migrated = False


def _migrations() -> None:
    global _migrated  # noqa: PLW0603 (once applied they stay applied while this process lives)
    if _migrated:
        return
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        raise CheckFailed(f"{len(missing)} migrations are not applied")
    _migrated = True


def _cache() -> None:
    with_redis(lambda redis: redis.ping())


def _worker() -> dict[str, Any]:
    """How many workers live, and the age of the youngest sign of life."""
    now = timezone.now()
    alive = ProcrastinateWorker.objects.filter(last_heartbeat__gt=now - WORKER_SILENT_FOR)
    found = alive.aggregate(count=Count("id"), last=Max("last_heartbeat"))
    if not found["count"]:
        raise CheckFailed("no worker has given a sign of life within a minute")
    return {"alive": found["count"], "last_heartbeat_s": round((now - found["last"]).total_seconds(), 1)}


_CHECKS: dict[str, Callable[[], dict[str, Any] | None]] = {
    "database": _database,
    "migrations": _migrations,
    "cache": _cache,
    "worker": _worker,
}
