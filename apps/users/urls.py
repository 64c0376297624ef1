from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from apps.users import views

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("users", views.MemberViewSet, basename="user")
router.register("invitations", views.InvitationViewSet, basename="invitation")
router.register("api-keys", views.ApiKeyViewSet, basename="api-key")
router.register("audit-logs", views.AuditEntryViewSet, basename="audit-log")
router.register("webhooks", views.WebhookViewSet, basename="webhook")


urlpatterns: list[URLPattern | URLResolver] = [
    path("auth/login", views.AuthViewSet.as_view({"post": "login"})),
    path("auth/refresh", views.AuthViewSet.as_view({"post": "refresh"})),
    path("auth/logout", views.AuthViewSet.as_view({"post": "logout"})),
    path("auth/register", views.AuthViewSet.as_view({"post": "register"})),
    path("auth/me", views.AuthViewSet.as_view({"get": "me", "patch": "update_me"})),
    path("auth/password", views.AuthViewSet.as_view({"post": "password"})),
    path("auth/password/reset", views.AuthViewSet.as_view({"post": "password_reset"})),
    path("auth/password/reset/confirm", views.AuthViewSet.as_view({"post": "password_reset_confirm"})),
    path("auth/switch", views.AuthViewSet.as_view({"post": "switch"})),
    path("auth/invitations/accept", views.AuthViewSet.as_view({"post": "accept_invitation"})),
    path(
        "organizations/current",
        views.CurrentOrganizationViewSet.as_view({"get": "retrieve", "patch": "partial_update"}),
    ),
    path("roles", views.RoleViewSet.as_view({"get": "retrieve"})),
    path("api-keys/<uuid:pk>/rotate", views.ApiKeyViewSet.as_view({"post": "rotate"})),
    path("invitations/<uuid:pk>/resend", views.InvitationViewSet.as_view({"post": "resend"})),
    path("webhooks/<uuid:pk>/rotate-secret", views.WebhookViewSet.as_view({"post": "rotate_secret"})),
    path("webhooks/<uuid:pk>/test", views.WebhookViewSet.as_view({"post": "test"})),
    path("webhooks/<uuid:pk>/deliveries", views.WebhookDeliveryViewSet.as_view({"get": "list"})),
    path("webhooks/<uuid:pk>/deliveries/<uuid:delivery_id>", views.WebhookDeliveryViewSet.as_view({"get": "retrieve"})),
    path(
        "webhooks/<uuid:pk>/deliveries/<uuid:delivery_id>/redeliver",
        views.WebhookDeliveryViewSet.as_view({"post": "redeliver"}),
    ),
    *router.urls,
]
