# One target per component: docker build --target engine|router|operator .
#
# Dependencies are installed by hash into a virtual environment that holds nothing else, and a layer of their own keeps
# a change of our source from touching them: such a build takes seconds.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1
RUN python3 -m venv --without-pip /opt/fairlead
COPY --chmod=755 .ci/install-locked /usr/local/bin/

FROM builder AS engine-dependencies
COPY requirements/engine.txt /requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip install-locked /requirements.txt

FROM builder AS router-dependencies
COPY requirements/router.txt /requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip install-locked /requirements.txt

FROM builder AS operator-dependencies
COPY requirements/operator.txt /requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip install-locked /requirements.txt

# Our own code, laid out as the environment is, to be copied over it.
FROM builder AS fairlead
COPY requirements/build.txt /requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip pip install --require-hashes --requirement /requirements.txt
COPY . /source
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels /source \
 && pip --python /opt/fairlead install --no-deps --no-compile --no-index --prefix /code /wheels/*.whl \
 && python3 -m compileall -q --invalidation-mode unchecked-hash -s /code -p /opt/fairlead /code

FROM ${PYTHON_IMAGE} AS runtime
# USER: libraries ask for the user's name, and the number below has no line in /etc/passwd
ENV PATH=/opt/fairlead/bin:$PATH \
    USER=fairlead \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.vendor=Fairlead \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION

FROM runtime AS engine
LABEL org.opencontainers.image.title=fairlead-engine \
      org.opencontainers.image.description="Mock inference engine with vLLM's API, metrics and batching"
COPY --from=engine-dependencies /opt/fairlead /opt/fairlead
COPY --from=fairlead /code /opt/fairlead
EXPOSE 8000
ENTRYPOINT ["fairlead-engine"]

FROM runtime AS router
LABEL org.opencontainers.image.title=fairlead-router \
      org.opencontainers.image.description="SLO-aware router in front of an InferencePool's engines"
COPY --from=router-dependencies /opt/fairlead /opt/fairlead
COPY --from=fairlead /code /opt/fairlead
EXPOSE 8080 9090
ENTRYPOINT ["fairlead-router"]

FROM runtime AS operator
LABEL org.opencontainers.image.title=fairlead-operator \
      org.opencontainers.image.description="Kubernetes operator for InferencePools"
COPY --from=operator-dependencies /opt/fairlead /opt/fairlead
COPY --from=fairlead /code /opt/fairlead
EXPOSE 9091
ENTRYPOINT ["fairlead-operator"]
