"""Django settings. The only reader of the environment: every variable is a typed field of `Environment`."""

import json
import os
import secrets
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse_lazy
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from everquant.embedded import EmbeddedServices, default_data_dir

BASE_DIR = Path(__file__).resolve().parent.parent

MIN_SECRET_LENGTH = 50
MIN_SECRET_VARIETY = 10


def is_weak(secret: str) -> bool:
    """Whether a secret is short or repetitive, as placeholders are."""
    return len(secret) < MIN_SECRET_LENGTH or len(set(secret)) < MIN_SECRET_VARIETY or "change" in secret.lower()


CommaList = Annotated[list[str], NoDecode]


class Environment(BaseSettings):
    """The environment, one field a variable (upper case outside). Durations are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    environment: Literal["development", "test", "production"] = "development"
    everquant_data_dir: Path | None = None
    public_url: str = ""

    port: int = Field(default=8080, ge=1, le=65535)
    web_host: str = "127.0.0.1"
    web_processes: int = Field(default=0, ge=0, description="0 means one per core")
    web_threads: int = Field(default=256, ge=4)
    web_waiting_share: float = Field(default=0.8, gt=0, lt=1)
    worker_concurrency: int = Field(default=64, ge=1)
    worker_drain_s: float = Field(default=30, ge=0)
    read_timeout: float = Field(default=30, gt=0)
    write_timeout: float = Field(default=30, gt=0)
    max_body_bytes: int = Field(default=2 * 1024 * 1024, ge=1024)
    trusted_proxies: int = Field(default=0, ge=0, description="how many proxies append to X-Forwarded-For")

    database_url: str | None = None
    db_max_open_conns: int = Field(default=25, ge=1)
    db_max_idle_conns: int = Field(default=5, ge=0)
    db_conn_max_lifetime: float = Field(default=300, gt=0)
    redis_url: str | None = None

    secret_key: str = ""
    jwt_secret: CommaList = []
    jwt_access_ttl: int = Field(default=900, ge=1)
    jwt_refresh_ttl: int = Field(default=604800, ge=1)
    encryption_keys: CommaList = []

    allowed_hosts: CommaList = []
    cors_allowed_origins: CommaList = []
    csrf_trusted_origins: CommaList = []
    secure_ssl_redirect: bool = True

    rate_limit_anonymous: str = "60/m"
    rate_limit_login_ip: str = "20/m"
    rate_limit_login_account: str = "10/m"
    rate_limit_organization: str = "600000/m"
    rate_limit_key: str = "300000/m"

    allow_registration: bool = True
    allow_private_provider_urls: bool = False
    openai_api_key: str = ""
    openai_base_url: str = "https://api.openai.com/v1"
    anthropic_api_key: str = ""
    anthropic_base_url: str = "https://api.anthropic.com"
    provider_connect_timeout: float = Field(default=5, gt=0)
    provider_first_token_timeout: float = Field(default=60, gt=0)
    provider_total_timeout: float = Field(default=300, gt=0)

    email_host: str = ""
    email_port: int = Field(default=587, ge=1, le=65535)
    email_host_user: str = ""
    email_host_password: str = ""
    email_use_tls: bool = True
    default_from_email: str = "everquant@localhost"

    demo_password: str = ""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    prometheus_multiproc_dir: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def split_lists(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name, field in cls.model_fields.items():
            if isinstance(values.get(name), str) and field.annotation == list[str]:
                values[name] = [part.strip() for part in values[name].split(",") if part.strip()]
        return values

    def problems(self) -> list[str]:
        """What is wrong beyond the types: rates, keys, and what production demands."""
        found = [
            f"{name.upper()}: '{value}' is not a rate such as 60/m (s, m, h or d)"
            for name, value in self
            if name.startswith("rate_limit_") and not _is_rate(value)
        ]
        found += [f"{name}: {why}" for name, value in self._urls() if (why := _url_problem(name, value))]
        for number, key in enumerate(self.encryption_keys, 1):
            try:
                Fernet(key)
            except ValueError:
                found.append(f"ENCRYPTION_KEYS: key {number} is not a Fernet key (32 bytes, url-safe base64)")
        return found + (self._production_problems() if self.environment == "production" else [])

    def _urls(self) -> list[tuple[str, str]]:
        return [(n, v) for n, v in (("DATABASE_URL", self.database_url), ("REDIS_URL", self.redis_url)) if v]

    def _production_problems(self) -> list[str]:
        required = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "SECRET_KEY": self.secret_key,
            "JWT_SECRET": self.jwt_secret,
            "ENCRYPTION_KEYS": self.encryption_keys,
            "ALLOWED_HOSTS": self.allowed_hosts,
        }
        found = [f"{name}: is required in production" for name, value in required.items() if not value]
        weak = f"is weak: at least {MIN_SECRET_LENGTH} random characters"
        if self.secret_key and is_weak(self.secret_key):
            found.append(f"SECRET_KEY: {weak}")
        found += [f"JWT_SECRET: secret {n} {weak}" for n, s in enumerate(self.jwt_secret, 1) if is_weak(s)]
        if "*" in self.allowed_hosts:
            found.append("ALLOWED_HOSTS: '*' is not allowed in production")
        return found


def _is_rate(value: str) -> bool:
    count, slash, period = value.partition("/")
    return bool(slash) and count.isdigit() and period in {"s", "m", "h", "d"}


def _url_problem(name: str, value: str) -> str:
    schemes = {"DATABASE_URL": {"postgres", "postgresql"}, "REDIS_URL": {"redis", "rediss", "unix"}}[name]
    try:
        scheme = urlsplit(value).scheme
        _ = urlsplit(value).port
    except ValueError as error:
        return f"is not a URL: {error}"
    return "" if scheme in schemes else f"must start with one of {', '.join(sorted(s + '://' for s in schemes))}"


def read_environment() -> Environment:
    """Read and check everything; raises ImproperlyConfigured with all problems, one a line."""
    try:
        environment = Environment()
        problems = environment.problems()
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
    if problems:
        raise ImproperlyConfigured("The environment is not right:\n" + "\n".join(f"  - {p}" for p in problems))
    return environment


def development_secrets(path: Path) -> dict[str, str]:
    """Random secrets of a development machine, made once and kept beside its data (mode 0600)."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = {
            "secret_key": secrets.token_urlsafe(48),
            "jwt_secret": secrets.token_urlsafe(48),
            "encryption_key": Fernet.generate_key().decode(),
        }
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(made, file)
        try:
            os.link(file.name, path)
        except FileExistsError:  # another process was first: its secrets hold
            pass
        finally:
            Path(file.name).unlink()
    return dict(json.loads(path.read_text()))


def database_settings(url: str, env: Environment) -> dict[str, Any]:
    """Django's DATABASES entry for a URL, with psycopg's pool sized for one process."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    pool_size = max(2, env.db_max_open_conns // max(1, web_processes(env)))
    options = {
        **{k: v for k, v in query.items() if k != "host"},
        "options": f"-c statement_timeout={int(env.write_timeout * 1000)}",
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
    "corsheaders.middleware.CorsMiddleware",
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
        "ExecutionSourceEnum": "apps.executions.models.Source",
        "PromptTypeEnum": "apps.prompts.models.Prompt.Type",
        "ScoreSourceEnum": "apps.executions.models.Score.Source",
        "ScoreTypeEnum": "apps.executions.models.Score.Type",
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
OPENAI_API_KEY, OPENAI_BASE_URL = ENV.openai_api_key, ENV.openai_base_url
ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL = ENV.anthropic_api_key, ENV.anthropic_base_url
PROVIDER_CONNECT_TIMEOUT = ENV.provider_connect_timeout
PROVIDER_FIRST_TOKEN_TIMEOUT = ENV.provider_first_token_timeout
PROVIDER_TOTAL_TIMEOUT = ENV.provider_total_timeout
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
    "Executions": [
        ("Executions", "play_circle", "executions_execution"),
        ("Scores", "thumbs_up_down", "executions_score"),
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
        ("Jobs", "work_history", "procrastinate_procrastinatejob"),
    ],
}
UNFOLD = {
    "SITE_TITLE": "EverQuant",
    "SITE_HEADER": "EverQuant",
    "SITE_URL": "/api/docs",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SIDEBAR": {
        "show_search": True,
        "navigation": [
            {
                "title": title,
                "items": [
                    {"title": name, "icon": icon, "link": reverse_lazy(f"admin:{model}_changelist")}
                    for name, icon, model in items
                ],
            }
            for title, items in ADMIN_PAGES.items()
        ],
    },
}
