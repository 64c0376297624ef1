from typing import Any, ClassVar

import django_filters

from apps.executions.budgets.serializers import BudgetChangeSerializer, BudgetInputSerializer, BudgetSerializer
from apps.executions.budgets.services import create_budget, update_budget
from apps.executions.models import Budget, BudgetPeriod, BudgetScope
from apps.users.tenancy import ResourceViewSet
from everquant.api.filters import TrueFalseFilter


class BudgetFilter(django_filters.FilterSet):
    scope = django_filters.ChoiceFilter(choices=BudgetScope.choices)
    scope_id = django_filters.UUIDFilter()
    period = django_filters.ChoiceFilter(choices=BudgetPeriod.choices)
    is_hard = TrueFalseFilter()
    is_active = TrueFalseFilter()

    class Meta:
        model = Budget
        fields: list[str] = []


class BudgetViewSet(ResourceViewSet):
    """Limits on what executions may cost in a day or a month."""

    queryset = Budget.objects.all()
    serializer_class = BudgetSerializer
    filterset_class = BudgetFilter
    search_fields = ["name"]
    ordering_fields = ["name", "limit_usd", "created_at", "updated_at"]
    permissions: ClassVar[dict[str, str]] = dict.fromkeys(
        ["list", "retrieve", "create", "update", "partial_update", "destroy"], "billing:manage"
    )
    further_errors = {"update": (409,), "partial_update": (409,)}
    input_serializer_classes: ClassVar[dict[str, Any]] = {
        "create": BudgetInputSerializer,
        "update": BudgetChangeSerializer,
        "partial_update": BudgetChangeSerializer,
    }

    def refine(self, queryset: Any) -> Any:
        return queryset.with_current_spend()

    def perform_create(self, data: dict[str, Any]) -> Budget:
        budget = create_budget(organization_id=self.principal.organization_id, **data)
        stored: Budget = self.get_queryset().get(pk=budget.pk)
        return stored

    def perform_update(self, instance: Budget, data: dict[str, Any]) -> Budget:
        return update_budget(budget=instance, **data)
