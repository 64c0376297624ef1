"""Prometheus metrics of the process. With several web processes they are shared through a folder of files."""

import os

from django.conf import settings

if settings.PROMETHEUS_MULTIPROC_DIR:
    settings.PROMETHEUS_MULTIPROC_DIR.mkdir(parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(settings.PROMETHEUS_MULTIPROC_DIR)

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

REQUESTS = Histogram(
    "everquant_http_request_seconds",
    "Time from the first byte of a request to its answer.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
REDIS_FAILURES = Counter("everquant_redis_failures_total", "Calls that found Redis away.")
RATE_LIMIT_FAIL_OPEN = Counter("everquant_rate_limit_fail_open_total", "Requests let through because Redis was away.")
WAITING = Gauge(
    "everquant_waiting_requests",
    "Requests that wait for a model or an event.",
    multiprocess_mode="livesum",
)
CIRCUIT_OPEN = Gauge(
    "everquant_circuit_open",
    "Whether calls of this provider's model are refused because it failed.",
    ["provider_id", "model"],
    multiprocess_mode="mostrecent",
)
CIRCUIT_REFUSALS = Counter(
    "everquant_circuit_refusals_total", "Calls refused by an open circuit.", ["provider_id", "model"]
)
MODEL_WAIT = Histogram(
    "everquant_model_wait_seconds",
    "Time that calls waited for their turn at a model with limits.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60),
)
RESPONSE_CACHE = Counter("everquant_response_cache_total", "Questions that may be answered from the cache.", ["result"])
BULKHEAD_REFUSALS = Counter("everquant_bulkhead_refusals_total", "Waiting requests refused with 503.")


def exposition() -> tuple[bytes, str]:
    """The metrics of all processes in Prometheus' text format, and its content type."""
    registry = REGISTRY
    if settings.PROMETHEUS_MULTIPROC_DIR:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST
