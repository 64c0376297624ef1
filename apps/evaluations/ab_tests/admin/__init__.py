"""Operators' pages of A/B tests."""

from apps.evaluations.ab_tests.admin.pages import ABIncidentAdmin, ABObservationAdmin, ABTestAdmin

__all__ = ["ABIncidentAdmin", "ABObservationAdmin", "ABTestAdmin"]
