"""Operators see queues and what was said, and annotate."""

from apps.evaluations.annotation.admin import annotations, queues

__all__ = ["annotations", "queues"]
