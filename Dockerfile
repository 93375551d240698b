# Gateway and agents in one image; the command says which. No Java: Kafka is a service of its own.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements.lock requirements-runtime.lock pyproject.toml README.md LICENSE ./
RUN python -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
RUN python -m venv /opt/tapeline \
 && /opt/tapeline/bin/pip install --no-cache-dir --require-hashes -r requirements-runtime.lock
COPY schemas schemas
COPY runtime runtime
COPY ingest ingest
COPY processors processors
COPY tapeline tapeline
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/tapeline/bin/pip install --no-cache-dir --no-deps /dist/*.whl

FROM python:3.11-slim
COPY --from=build /opt/tapeline /opt/tapeline
# A fixed number: the tokens file and the spool are their owner's alone.
RUN useradd --uid 1000 --create-home tapeline \
 && install -d -o tapeline -m 700 /var/lib/tapeline/spool
USER tapeline
WORKDIR /home/tapeline
ENV PATH=/opt/tapeline/bin:$PATH TAPELINE_LOG_FORMAT=json
ENTRYPOINT ["tapeline"]
CMD ["--help"]
