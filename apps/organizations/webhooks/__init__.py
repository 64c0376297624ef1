from apps.organizations.webhooks.events import emit

__all__ = ["emit"]
