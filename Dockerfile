# The `ladle` command with everything that a service needs; the default is `ladle placement`.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# Libraries first: they change seldom, and the layer is kept.
COPY requirements/build.txt requirements/run.txt requirements/
RUN python -m venv /opt/ladle \
 && /opt/ladle/bin/pip install --require-hashes --requirement requirements/run.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --requirement requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY contracts contracts
COPY services services
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/ladle/bin/pip install --no-deps /wheels/ladle-*.whl

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Ladle" \
      org.opencontainers.image.description="Placement for fleets of mediasoup servers" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --home-dir /var/lib/ladle --create-home ladle
COPY --from=build /opt/ladle /opt/ladle
ENV PATH=/opt/ladle/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LADLE_HTTP_HOST=0.0.0.0 \
    LADLE_HTTP_PORT=9464 \
    LADLE_DATABASE_URL=sqlite+aiosqlite:////var/lib/ladle/ladle.db
USER 10001
WORKDIR /var/lib/ladle
VOLUME /var/lib/ladle
EXPOSE 9464
STOPSIGNAL SIGTERM
# Liveness: does not depend on the broker. Another command than `placement` has no such port; run
# it with --no-healthcheck.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9464/livez', timeout=3)"]
ENTRYPOINT ["ladle"]
CMD ["placement"]
