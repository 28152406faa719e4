# The service and what it needs to run; `docker build -t prod:1.0 .` makes it.

FROM python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3 AS build

WORKDIR /app
COPY requirements.txt .
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install \
        --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        --only-binary=:all: --no-deps --require-hashes --requirement requirements.txt \
    && rm requirements.txt
COPY LICENSE .flaskenv gunicorn.conf.py wsgi.py ./
COPY service service
# Compiled now, as nothing is written later; readable by all, whatever the umask of the checkout.
RUN python -m compileall -q . && chmod -R u=rwX,go=rX .


FROM python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3

# The folder is for a volume, where the database is SQLite.
RUN useradd --uid 1001 --user-group --no-create-home --shell /usr/sbin/nologin products \
    && install --directory --owner=1001 --group=1001 /app/instance
ENV PATH=/opt/venv/bin:$PATH \
    HOST=* \
    PORT=8080 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app ./
USER 1001:1001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=6 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health', timeout=4)"]
# gunicorn.conf.py has the rest: uvicorn in each worker, and a bridge to the app.
CMD ["python", "-m", "service.server"]
