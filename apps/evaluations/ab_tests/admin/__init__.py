"""Operators' pages of A/B tests."""
