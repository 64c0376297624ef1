# One image for web, worker and commands: docker run … python manage.py web | worker | migrate
FROM python:3.13-slim-bookworm AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir --disable-pip-version-check uv
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-default-groups --no-cache
COPY . .
RUN .venv/bin/python -m compileall -q apps everquant
# Production's settings want secrets; these live for this one command.
RUN secret() { .venv/bin/python -c 'import secrets; print(secrets.token_urlsafe(48))'; }; \
    ENVIRONMENT=production ALLOWED_HOSTS=localhost \
    DATABASE_URL=postgresql://nobody@localhost/nothing REDIS_URL=redis://localhost \
    SECRET_KEY=$(secret) JWT_SECRET=$(secret) \
    ENCRYPTION_KEYS=$(.venv/bin/python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())') \
    .venv/bin/python manage.py collectstatic --noinput

FROM python:3.13-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin everquant
WORKDIR /app
COPY --from=build /app /app
ENV PATH=/app/.venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    ENVIRONMENT=production WEB_HOST=0.0.0.0 PORT=8080 PROMETHEUS_MULTIPROC_DIR=/tmp/everquant-metrics
USER 10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-S", "-c", "import os, urllib.request as r; e = os.environ; r.urlopen(r.Request('http://127.0.0.1:' + e['PORT'] + '/healthz', headers={'Host': e['ALLOWED_HOSTS'].split(',')[0].strip().lstrip('.')}), timeout=4)"]
CMD ["python", "manage.py", "web"]
