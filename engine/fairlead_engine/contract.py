"""Names that engines promise to others: port, flags and limits that the operator and the router rely on."""

PORT = 8000
"""Port on which an engine serves unless told otherwise."""

HEALTH_PATH = "/health"
"""200 when the engine can serve; the pods' readiness probe asks it."""

ADMIN_REQUESTS_PATH = "/admin/requests"
"""Counts of the mock engine's requests: `{"running", "waiting", "aborted", "finished"}`; for tests."""

ADMIN_FAULTS_PATH = "/admin/faults"
"""Faults of the mock engine, for tests: GET shows them, PUT replaces them, DELETE ends them."""

SLO_CLASS_HEADER = "x-slo-class"
"""Of a request to the mock engine: its service class, for schedulers that know classes."""

SLO_TBT_HEADER = "x-slo-tbt-ms"
"""Of a request to the mock engine: its TBT limit in milliseconds, for schedulers that know limits."""

ENGINE_ID_HEADER = "x-engine-id"
"""On every response of the mock engine: which engine answered."""

MODEL_FLAG = "--model"
SERVED_MODEL_NAME_FLAG = "--served-model-name"
PORT_FLAG = "--port"
HOST_FLAG = "--host"
SHUTDOWN_TIMEOUT_FLAG = "--shutdown-timeout"
"""Seconds that running requests get after SIGTERM."""
