"""Reading a pool from a manifest file, with the checks that the API server would make."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from fairlead_operator.api.pool import API_VERSION, KIND, InvalidPoolError, Pool, describe, parse_spec


def read_pool(path: Path) -> Pool:
    """Read the one `InferencePool` of a manifest file.

    Raises
    ------
    InvalidPoolError
        The file cannot be read, is not YAML, holds no pool or more than one, or the pool breaks a rule; the message
        names the file, the field, what it holds and what is allowed.

    """
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
    except OSError as error:
        raise InvalidPoolError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidPoolError(f"{path}: not YAML: {error}") from error
    pools = [document for document in documents if isinstance(document, dict) and document.get("kind") == KIND]
    if len(pools) != 1:
        kinds = (
            ", ".join(str(d.get("kind")) if isinstance(d, dict) else type(d).__name__ for d in documents) or "nothing"
        )
        raise InvalidPoolError(f"{path}: must hold exactly one {KIND}, found {kinds}")
    try:
        return _pool(pools[0])
    except InvalidPoolError as error:
        raise InvalidPoolError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


def _pool(manifest: dict[str, Any]) -> Pool:
    if manifest.get("apiVersion") != API_VERSION:
        raise InvalidPoolError(f"apiVersion: must be {API_VERSION} (found {manifest.get('apiVersion')!r})")
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise InvalidPoolError("metadata.name: required")
    spec = parse_spec(manifest.get("spec"))
    if spec.router.auth or spec.router.tls:
        field = "auth" if spec.router.auth else "tls"
        raise InvalidPoolError(
            f"spec.router.{field}: there are no Secrets on this machine; leave it out, or run the router by itself: "
            "fairlead-router --config FILE takes files of keys and certificates"
        )
    try:
        return Pool(name=metadata["name"], namespace="local", uid="local", generation=1, spec=spec)
    except ValidationError as error:
        raise InvalidPoolError(describe(error, "metadata")) from error
