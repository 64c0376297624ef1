from django.urls import URLPattern, URLResolver, path

from apps.evaluations.promotion.views import PromotionApprovalViewSet, PromotionPolicyViewSet

_POLICY = "promotion-policies/<uuid:pk>"

urlpatterns: list[URLPattern | URLResolver] = [
    path(
        "promotion-policies",
        PromotionPolicyViewSet.as_view({"get": "list", "post": "create"}),
        name="promotion-policy-list",
    ),
    path(
        _POLICY,
        PromotionPolicyViewSet.as_view(
            {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
        ),
        name="promotion-policy-detail",
    ),
    path(f"{_POLICY}/status", PromotionPolicyViewSet.as_view({"get": "read_status"}), name="promotion-policy-status"),
    path(f"{_POLICY}/evaluate", PromotionPolicyViewSet.as_view({"post": "evaluate"}), name="promotion-policy-evaluate"),
    path(f"{_POLICY}/gate", PromotionPolicyViewSet.as_view({"post": "gate"}), name="promotion-policy-gate"),
    path(
        f"{_POLICY}/approvals",
        PromotionApprovalViewSet.as_view({"get": "list", "post": "create"}),
        name="promotion-approvals",
    ),
    path(
        f"{_POLICY}/approvals/<uuid:approval_id>",
        PromotionApprovalViewSet.as_view({"delete": "destroy"}),
        name="promotion-approval-detail",
    ),
]
