"""Django settings, from the environment that `environment.py` reads and checks."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.templatetags.static import static
from django.urls import reverse_lazy
from whitenoise.compress import Compressor

from everquant.embedded import EmbeddedServices, default_data_dir
from everquant.environment import Environment, development_secrets, read_environment

BASE_DIR = Path(__file__).resolve().parent.parent

# Every process has threads of its own. Those of numpy's BLAS besides only wait for cores: on a busy machine of two a
# comparison took four times as long with them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def database_settings(url: str, env: Environment) -> dict[str, Any]:
    """Django's DATABASES entry for a URL, with psycopg's pool sized for one process."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    pool_size = max(2, env.db_max_open_conns // max(1, web_processes(env)))
    options = {
        **{k: v for k, v in query.items() if k != "host"},
        # Of what is prepared, which is what `prepared_cursor` sends.
        "options": f"{query.get('options', '')} -c plan_cache_mode=force_generic_plan".strip(),
        "pool": {
            "min_size": min(env.db_max_idle_conns, pool_size),
            "max_size": pool_size,
            "max_lifetime": env.db_conn_max_lifetime,
            "timeout": env.write_timeout,
        },
    }
    return {
        "ENGINE": "everquant.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.get("host") or parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }


def web_processes(env: Environment) -> int:
    return env.web_processes or os.cpu_count() or 1


ENV = read_environment()
ENVIRONMENT = ENV.environment
IS_PRODUCTION = ENVIRONMENT == "production"
DEBUG = False
TESTING = ENVIRONMENT == "test"

DATA_DIR = ENV.everquant_data_dir or default_data_dir(BASE_DIR)
EMBEDDED: EmbeddedServices | None = None
if not IS_PRODUCTION and not (ENV.database_url and ENV.redis_url):
    EMBEDDED = EmbeddedServices(
        DATA_DIR, postgres=not ENV.database_url, valkey=not ENV.redis_url, durable=ENVIRONMENT != "test"
    )

if IS_PRODUCTION:
    SECRET_KEY, JWT_SECRETS, ENCRYPTION_KEYS = ENV.secret_key, ENV.jwt_secret, ENV.encryption_keys
else:
    _made = development_secrets(DATA_DIR / "secrets.json")
    SECRET_KEY = ENV.secret_key or _made["secret_key"]
    JWT_SECRETS = ENV.jwt_secret or [_made["jwt_secret"]]
    ENCRYPTION_KEYS = ENV.encryption_keys or [_made["encryption_key"]]

ALLOWED_HOSTS = ENV.allowed_hosts or ["localhost", "127.0.0.1", "[::1]", "testserver"]
PUBLIC_URL = ENV.public_url.rstrip("/") or f"http://localhost:{ENV.port}"

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "corsheaders",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "auditlog",
    "procrastinate.contrib.django",
    "everquant",
    "everquant.api",
    "apps.organizations",
    "apps.users",
    "apps.models",
    "apps.prompts",
    "apps.executions",
    "apps.workflows",
    "apps.evaluations",
    "apps.analytics",
]

MIDDLEWARE = [
    "everquant.middleware.RequestMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "everquant.middleware.OriginMiddleware",
    "everquant.middleware.ApiBoundaryMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "apps.users.middleware.OperatorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "everquant.urls"
WSGI_APPLICATION = "everquant.wsgi.application"
APPEND_SLASH = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": database_settings(ENV.database_url or (EMBEDDED.database_url if EMBEDDED else ""), ENV)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = ENV.redis_url or (EMBEDDED.redis_url if EMBEDDED else "")
_REDIS_OPTIONS = {
    "SOCKET_CONNECT_TIMEOUT": 0.5,
    "SOCKET_TIMEOUT": 0.5,
    "CONNECTION_POOL_KWARGS": {"max_connections": ENV.web_threads + ENV.worker_concurrency},
}
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "eq",
        "OPTIONS": _REDIS_OPTIONS,
    },
    "limits": {
        "BACKEND": "everquant.api.throttling.CounterCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "eq",
        "OPTIONS": _REDIS_OPTIONS,
    },
    "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "everquant"},
}

AUTH_USER_MODEL = "users.User"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
ALLOW_REGISTRATION = ENV.allow_registration

JWT_ISSUER = "everquant"
JWT_AUDIENCE = "everquant-api"
SIMPLE_JWT: dict[str, Any] = {
    "ALGORITHM": "HS256",
    "SIGNING_KEY": JWT_SECRETS[0],
    "ISSUER": JWT_ISSUER,
    "AUDIENCE": JWT_AUDIENCE,
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=ENV.jwt_access_ttl),
    "REFRESH_TOKEN_LIFETIME": timedelta(seconds=ENV.jwt_refresh_ttl),
    "LEEWAY": 0,
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.users.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["everquant.api.envelope.EnvelopeRenderer"],
    "DEFAULT_PARSER_CLASSES": ["everquant.api.parsers.StrictJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "everquant.api.pagination.PagePagination",
    "DEFAULT_FILTER_BACKENDS": [
        "everquant.api.filters.StrictFilterBackend",
        "everquant.api.filters.SearchBackend",
        "everquant.api.filters.StrictOrderingFilter",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["everquant.api.throttling.RequestThrottle"],
    "DEFAULT_SCHEMA_CLASS": "everquant.api.schema.EnvelopeSchema",
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "everquant.api.envelope.JSONOnlyNegotiation",
    "EXCEPTION_HANDLER": "everquant.api.handler.handle_exception",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "COERCE_DECIMAL_TO_STRING": True,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "EverQuant API",
    "DESCRIPTION": "Prompts with versions and labels, executed on registered models, with quality, latency and cost.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "ABDirectionEnum": "apps.evaluations.ab_tests.serializers.DIRECTIONS",
        "ABTestModeEnum": "apps.prompts.models.ABTest.Mode",
        "ABTestStatusEnum": "apps.prompts.models.ABTestStatus",
        "AlertBaselineEnum": "apps.analytics.models.AlertBaseline",
        "AlertDirectionEnum": "apps.analytics.models.AlertDirection",
        "AnalyticsDimensionEnum": "apps.analytics.queries.asking.DIMENSIONS",
        "AnnotationStatusEnum": "apps.evaluations.models.AnnotationStatus",
        "BaselineEnum": "apps.evaluations.promotion.serializers.BASELINES",
        "ComparisonVerdictEnum": "apps.evaluations.comparing.serializers.VERDICTS",
        "DatasetFileFormatEnum": "apps.evaluations.models.ImportFormat",
        "DirectionEnum": "apps.evaluations.models.Direction",
        "ExecutionSourceEnum": "apps.executions.models.Source",
        "FormatEnum": "apps.prompts.models.PromptVersion.Format",
        "GateVerdictEnum": "apps.evaluations.models.Verdict",
        "ModeEnum": "apps.executions.serializers.MODES",
        "PromotionDecisionEnum": "apps.evaluations.models.Decision",
        "PromptTypeEnum": "apps.prompts.models.Prompt.Type",
        "RoleEnum": "apps.users.permissions.Role",
        "ScoreSourceEnum": "apps.executions.models.Score.Source",
        "ScoreTypeEnum": "apps.executions.models.Score.Type",
        "ExecutionStatusEnum": "apps.executions.models.Status",
        "WebhookDeliveryStatusEnum": "apps.organizations.models.DeliveryStatus",
        "WebhookEventTypeEnum": "apps.organizations.models.EventType",
        "WorkflowApprovalStatusEnum": "apps.workflows.models.ApprovalStatus",
        "WorkflowRunSourceEnum": "apps.workflows.models.RunSource",
        "WorkflowRunStatusEnum": "apps.workflows.models.RunStatus",
        "WorkflowStepStatusEnum": "apps.workflows.models.StepStatus",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "everquant.api.schema.describe_shared",
    ],
}

RATELIMIT_USE_CACHE = "limits"
RATELIMIT_FAIL_OPEN = True
RATE_LIMITS = {
    "anonymous": ENV.rate_limit_anonymous,
    "login_ip": ENV.rate_limit_login_ip,
    "login_account": ENV.rate_limit_login_account,
    "organization": ENV.rate_limit_organization,
    "key": ENV.rate_limit_key,
    "trigger": ENV.rate_limit_trigger,
}
TRUSTED_PROXIES = ENV.trusted_proxies

AUDITLOG_LOGENTRY_MODEL = "users.AuditEntry"
MIGRATION_MODULES = {"auditlog": None}  # its own table would stand empty: entries are users.AuditEntry
AUDITLOG_STORE_JSON_CHANGES = True
AUDITLOG_DISABLE_ON_RAW_SAVE = True
AUDITLOG_MASK_CALLABLE = "apps.users.models.audit.mask"

CORS_ALLOWED_ORIGINS = ENV.cors_allowed_origins
CORS_URLS_REGEX = r"^/(api|v1)/.*$"
CORS_ALLOW_HEADERS = [
    "accept",
    "authorization",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "last-event-id",
    "x-request-id",
]
CORS_EXPOSE_HEADERS = [
    "ETag",
    "Location",
    "Retry-After",
    "X-Request-ID",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "Idempotent-Replayed",
]
CSRF_TRUSTED_ORIGINS = ENV.csrf_trusted_origins

WEB_HOST = ENV.web_host
PORT = ENV.port
WEB_PROCESSES = web_processes(ENV)
WEB_THREADS = ENV.web_threads
WEB_WAITING_SLOTS = max(1, int(ENV.web_threads * ENV.web_waiting_share))
WORKER_CONCURRENCY = ENV.worker_concurrency
WORKER_DRAIN_S = ENV.worker_drain_s
READ_TIMEOUT = ENV.read_timeout
WRITE_TIMEOUT = ENV.write_timeout
MAX_BODY_BYTES = ENV.max_body_bytes
DATA_UPLOAD_MAX_MEMORY_SIZE = ENV.max_body_bytes

ALLOW_PRIVATE_PROVIDER_URLS = ENV.allow_private_provider_urls
ALLOW_PRIVATE_WEBHOOK_URLS = ENV.allow_private_webhook_urls
ALLOW_PRIVATE_WORKFLOW_URLS = ENV.allow_private_workflow_urls
WEBHOOK_TIMEOUT = ENV.webhook_timeout
EVERQUANT_URL, EVERQUANT_API_KEY = ENV.everquant_url, ENV.everquant_api_key
OPENAI_API_KEY, OPENAI_BASE_URL = ENV.openai_api_key, ENV.openai_base_url
ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL = ENV.anthropic_api_key, ENV.anthropic_base_url
PROVIDER_CONNECT_TIMEOUT = ENV.provider_connect_timeout
PROVIDER_FIRST_TOKEN_TIMEOUT = ENV.provider_first_token_timeout
PROVIDER_TOTAL_TIMEOUT = ENV.provider_total_timeout
MODEL_QUEUE_TIMEOUT = ENV.model_queue_timeout
BACKGROUND_PATIENCE = ENV.background_patience
CIRCUIT_FAILURES = ENV.circuit_failures
CIRCUIT_WINDOW_S, CIRCUIT_OPEN_S = ENV.circuit_window_s, ENV.circuit_open_s
RESPONSE_CACHE_MAX_BYTES = ENV.response_cache_max_bytes
STRUCTURED_OUTPUT_REPAIRS = ENV.structured_output_repairs
LEASE_S = ENV.execution_lease
LEASE_RENEW_S = LEASE_S / 4.5
QUEUE_RUNNERS = ENV.queue_runners
WORKFLOW_RUNS_PER_ORGANIZATION = ENV.workflow_runs_per_organization
EVALUATIONS_PER_ORGANIZATION = ENV.evaluations_per_organization
JUDGE_MIN_KAPPA = ENV.judge_min_kappa
WORKFLOW_CHECKPOINTS_KEPT_S = ENV.workflow_checkpoints_kept_s
ON_DISCONNECT = ENV.on_disconnect
# What may be larger than MAX_BODY_BYTES, by path; * stands for an id.
LARGER_BODIES = {
    "/api/v1/executions/batch": ENV.max_batch_bytes,
    "/api/v1/datasets/*/import": ENV.max_import_bytes,
}
BUDGET_DEFAULT_OUTPUT_TOKENS = ENV.budget_default_output_tokens
DEMO_PASSWORD = ENV.demo_password

EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if ENV.email_host else 'console'}.EmailBackend"
EMAIL_HOST, EMAIL_PORT = ENV.email_host, ENV.email_port
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = ENV.email_host_user, ENV.email_host_password
EMAIL_USE_TLS = ENV.email_use_tls
DEFAULT_FROM_EMAIL = ENV.default_from_email

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles" if IS_PRODUCTION else DATA_DIR / "staticfiles"
if not IS_PRODUCTION:  # whitenoise warns of a missing folder; the files come from the finders
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if IS_PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = not IS_PRODUCTION
# Source maps are half of all bytes, and asked for by developer tools alone: the build need not compress them.
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = (*Compressor.SKIP_COMPRESS_EXTENSIONS, "map")

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_PRODUCTION
if IS_PRODUCTION:
    SECURE_SSL_REDIRECT = ENV.secure_ssl_redirect
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
    SECURE_HSTS_SECONDS = 31536000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    if ENV.trusted_proxies:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

LOG_LEVEL = ENV.log_level
LOGGING_CONFIG = None
PROMETHEUS_MULTIPROC_DIR = ENV.prometheus_multiproc_dir
ADMIN_PAGES = {
    "Prompts": [
        ("Prompts", "chat", "prompts_prompt"),
        ("Versions", "history", "prompts_promptversion"),
        ("Label history", "label", "prompts_promptlabelevent"),
    ],
    "Workflows": [
        ("Workflows", "account_tree", "workflows_workflow"),
        ("Runs", "play_circle", "workflows_workflowrun"),
        ("Approvals", "approval", "workflows_approval"),
        ("Schedules", "schedule", "workflows_workflowschedule"),
        ("Triggers", "sensors", "workflows_workflowtrigger"),
        ("Versions", "history", "workflows_workflowversion"),
        ("Label history", "label", "workflows_workflowlabelevent"),
    ],
    "Evaluations": [
        ("Evaluations", "science", "evaluations_evaluation"),
        ("Datasets", "dataset", "evaluations_dataset"),
        ("Dataset versions", "history", "evaluations_datasetversion"),
        ("Dataset items", "list_alt", "evaluations_datasetitem"),
        ("Dataset imports", "upload_file", "evaluations_datasetimport"),
        ("Evaluators", "rule", "evaluations_evaluator"),
        ("Evaluator versions", "history", "evaluations_evaluatorversion"),
        ("Judge agreements", "balance", "evaluations_judgeagreement"),
        ("Score configs", "straighten", "evaluations_scoreconfig"),
        ("Annotation queues", "rate_review", "evaluations_annotationqueue"),
        ("Annotations", "edit_note", "evaluations_annotation"),
        ("Annotation tasks", "checklist", "evaluations_annotationtask"),
        ("Gates", "traffic", "evaluations_gateresult"),
        ("Promotion policies", "verified_user", "evaluations_promotionpolicy"),
        ("Promotion approvals", "how_to_reg", "evaluations_promotionapproval"),
    ],
    "A/B tests": [
        ("A/B tests", "alt_route", "prompts_abtest"),
        ("Incidents", "report", "evaluations_abincident"),
        ("Observations", "sensor_occupied", "evaluations_abobservation"),
    ],
    "Executions": [
        ("Executions", "bolt", "executions_execution"),
        ("Batches", "playlist_play", "executions_batch"),
        ("Scores", "thumbs_up_down", "executions_score"),
        ("Budgets", "account_balance_wallet", "executions_budget"),
        ("Statements", "request_quote", "analytics_statement"),
    ],
    "Models": [
        ("Models", "neurology", "models_llmmodel"),
        ("Providers", "cloud", "models_provider"),
    ],
    "People": [
        ("Organizations", "domain", "organizations_organization"),
        ("Users", "person", "users_user"),
        ("Memberships", "group", "users_membership"),
        ("Invitations", "mail", "users_invitation"),
        ("API keys", "key", "users_apikey"),
        ("Sign-ins", "login", "users_session"),
    ],
    "Operation": [
        ("Audit log", "receipt_long", "users_auditentry"),
        ("Alerts", "notifications", "analytics_alert"),
        ("Alert history", "history", "analytics_alertevent"),
        ("Retention", "auto_delete", "analytics_retentionpolicy"),
        ("Webhooks", "webhook", "organizations_webhookendpoint"),
        ("Webhook deliveries", "outbox", "organizations_webhookdelivery"),
        ("Jobs", "work_history", "procrastinate_procrastinatejob"),
        ("Workers", "memory", "procrastinate_procrastinateworker"),
    ],
}
UNFOLD = {
    "SITE_TITLE": "EverQuant",
    "SITE_HEADER": "EverQuant",
    "SITE_URL": "/api/docs",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("favicon.svg")},
    ],
    "SHOW_HISTORY": True,
    "DASHBOARD_CALLBACK": "apps.analytics.dashboard.views.add_dashboard",
    "SHOW_VIEW_ON_SITE": False,
    "SIDEBAR": {
        "show_search": True,
        "navigation": [
            {"items": [{"title": "Dashboard", "icon": "monitoring", "link": reverse_lazy("admin:index")}]},
            *(
                {
                    "title": title,
                    "items": [
                        {"title": name, "icon": icon, "link": reverse_lazy(f"admin:{model}_changelist")}
                        for name, icon, model in items
                    ],
                }
                for title, items in ADMIN_PAGES.items()
            ),
        ],
    },
}
