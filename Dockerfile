# pgshim as an image: docker build -t pgshim . ; docs/deploy/docker.md says how to run it.

# For builds that can be had again, pin the base by its digest: python:3.13-slim-bookworm@sha256:...
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY pgshim ./pgshim
# The environment that is kept has no pip: another one fills it.
RUN python3 -m venv /tools \
    && /tools/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python3 -m venv --without-pip /opt/pgshim \
    && /tools/bin/pip --python /opt/pgshim/bin/python3 install --no-cache-dir \
        "$(echo /wheels/pgshim-*.whl)[uvloop,tls,metrics]"

# Nothing is run in this stage: the same base, one folder more.
FROM ${BASE}
LABEL org.opencontainers.image.title="pgshim" \
      org.opencontainers.image.description="A proxy that makes a PostgreSQL transaction pooler safe for every driver" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/pgshim /opt/pgshim
ENV PATH=/opt/pgshim/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PGSHIM_LISTEN=0.0.0.0:6432
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 6432
# It drains: docker's --stop-timeout has to be longer than --drain-timeout.
STOPSIGNAL SIGTERM
# Whether port 6432 answers a SSLRequest, as one that serves PostgreSQL's clients does; the pooler is not asked.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["python3", "-c", "import socket, sys; \
s = socket.create_connection(('127.0.0.1', 6432), 3); s.sendall(bytes.fromhex('0000000804d2162f')); \
sys.exit(s.recv(1) not in (b'S', b'N'))"]
ENTRYPOINT ["pgshim"]
