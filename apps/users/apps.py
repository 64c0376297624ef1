from django.apps import AppConfig


class UsersConfig(AppConfig):
    name = "apps.users"
    label = "users"

    def ready(self) -> None:
        from apps.users.access import connect_invalidation  # noqa: PLC0415 (models must be loaded first)

        connect_invalidation()
