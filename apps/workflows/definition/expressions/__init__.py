"""The two languages of expressions: CEL for what is true or false, JMESPath for JSON from JSON."""

from apps.workflows.definition.expressions.comparisons import check_expression, expression_references, is_true
from apps.workflows.definition.expressions.queries import check_jmespath, jmespath_references, search

__all__ = [
    "check_expression",
    "check_jmespath",
    "expression_references",
    "is_true",
    "jmespath_references",
    "search",
]
