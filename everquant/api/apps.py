from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "everquant.api"
    label = "api"
