# The image of the service: docker build -t comity:0.1.0 .
# The base needs Python 3.11 or newer with venv; every stage uses the same one, because environments are copied.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# What the service runs on, and nothing that builds an index.
FROM ${BASE_IMAGE} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY pyproject.toml ./
RUN python3 -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
open('base.txt', 'w').write('\n'.join(project['dependencies'])); \
open('index.txt', 'w').write('\n'.join(project['optional-dependencies']['index']))" \
 && python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install -r base.txt \
 && printf '#!/opt/venv/bin/python\nimport sys\n\nfrom service.__main__ import main\n\nsys.exit(main())\n' > /opt/venv/bin/comity \
 && chmod 755 /opt/venv/bin/comity

# The index, built with the CPU build of torch; of this stage only the index goes on.
FROM packages AS index
ARG TORCH=torch==2.13.0
ENV ORT_DISABLE_TELEMETRY=1
# A wheelhouse that pip is configured with wins; else uv knows where the CPU builds are published.
RUN /opt/venv/bin/pip install --no-index --no-deps "${TORCH}" 2>/dev/null \
 || { /opt/venv/bin/pip install "uv>=0.6,<1" \
 && /opt/venv/bin/uv pip install --no-cache --python /opt/venv/bin/python --torch-backend cpu "${TORCH}"; }
RUN /opt/venv/bin/pip install -r index.txt
COPY detection/ detection/
COPY retrieval/ retrieval/
COPY index/ index/
COPY knowledge/ knowledge/
# Offline, so that the encoder is always the packaged one, whose checksum is pinned.
RUN HF_HUB_OFFLINE=1 /opt/venv/bin/python -m index build --knowledge knowledge --index /app/var/index \
 && /opt/venv/bin/python -m index verify --index /app/var/index

# What /app holds, readable by any user and writable by none but root, whatever the modes were where it came from.
FROM packages AS app
WORKDIR /app
COPY LICENSE ./
COPY service/ service/
COPY detection/ detection/
COPY retrieval/ retrieval/
COPY --from=index /app/var/index/ var/index/
RUN /opt/venv/bin/python -m compileall -q service detection retrieval \
 && chmod -R u=rwX,go=rX /app

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="comity" \
      org.opencontainers.image.description="A cultural guardrail that speaks the OpenAI API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
# Nothing is written but under /tmp, so the root file system may be read-only. onnxruntime 1.29 and later would send
# telemetry to its maker; this variable turns it off before the library initialises.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY --from=app /app /app
USER 65532:65532
EXPOSE 8080
# Not urllib, which would ask a proxy named in the environment.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8080, timeout=3); c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["comity"]
# Callers' keys come in COMITY_API_KEYS; without them the service refuses to listen on every address.
CMD ["serve", "--host", "0.0.0.0"]
