"""The environment: every variable is a typed field, and all that is wrong is told at once."""

import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

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
    rate_limit_trigger: str = "600/m"

    allow_registration: bool = True
    allow_private_provider_urls: bool = False
    allow_private_webhook_urls: bool = False
    allow_private_workflow_urls: bool = False
    openai_api_key: str = ""
    openai_base_url: str = "https://api.openai.com/v1"
    anthropic_api_key: str = ""
    anthropic_base_url: str = "https://api.anthropic.com"
    provider_connect_timeout: float = Field(default=5, gt=0)
    provider_first_token_timeout: float = Field(default=60, gt=0)
    provider_total_timeout: float = Field(default=300, gt=0)
    model_queue_timeout: float = Field(default=30, ge=0)
    background_patience: float = Field(default=3600, ge=0)
    circuit_failures: int = Field(default=5, ge=1)
    circuit_window_s: float = Field(default=60, gt=0)
    circuit_open_s: float = Field(default=30, gt=0)
    response_cache_max_bytes: int = Field(default=262_144, ge=0)
    structured_output_repairs: int = Field(default=1, ge=0, le=1)
    execution_lease: float = Field(default=45, ge=1)
    queue_runners: int = Field(default=64, ge=1)
    workflow_runs_per_organization: int = Field(default=100, ge=1)
    evaluations_per_organization: int = Field(default=2, ge=1)
    judge_min_kappa: float = Field(default=0.6, ge=0, le=1)
    workflow_checkpoints_kept_s: float = Field(default=86_400, ge=0)
    on_disconnect: Literal["finish", "cancel"] = "finish"
    max_batch_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    max_import_bytes: int = Field(default=256 * 1024 * 1024, ge=1024)
    budget_default_output_tokens: int = Field(default=4096, ge=1)

    webhook_timeout: float = Field(default=15, gt=0, le=30)

    everquant_url: str = "http://localhost:8080"
    everquant_api_key: str = ""

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
