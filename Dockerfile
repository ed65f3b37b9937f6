FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements requirements
RUN python -m venv /build \
    && /build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
# No pip in what is shipped.
RUN python -m venv --without-pip /app \
    && /build/bin/pip --python /app/bin/python install --no-cache-dir --require-hashes -r requirements/image.txt
COPY . .
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /build/bin/pip --python /app/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="argocd-token-refresh" \
      org.opencontainers.image.description="A sidecar in front of Argo CD that renews ID tokens before they end" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# By number: Kubernetes' runAsNonRoot cannot check a name. It owns nothing, and nothing is written.
USER 65532:65532
EXPOSE 8080 9090
# Kubernetes has probes of its own; elsewhere ask http://localhost:9090/healthz.
HEALTHCHECK NONE
ENTRYPOINT ["sidecar"]
CMD ["run"]
