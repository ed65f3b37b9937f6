FROM python:3.13-slim AS build
COPY requirements /src/requirements
RUN python -m venv /build
RUN /build/bin/pip install --no-cache-dir --require-hashes -r /src/requirements/build.txt
RUN python -m venv /app
RUN /app/bin/pip install --no-cache-dir --require-hashes -r /src/requirements/run.txt
COPY . /src
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist /src
RUN /app/bin/pip install --no-deps --no-index --find-links /dist argocd-token-refresh

FROM python:3.13-slim
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# Argo CD's own user, by number: Kubernetes' runAsNonRoot cannot check a name.
USER 999:999
EXPOSE 8080 9090
ENTRYPOINT ["sidecar"]
CMD ["run"]
