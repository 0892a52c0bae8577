"""Fixtures of the end-to-end tests: a kind cluster, the operator installed from the chart, a namespace a test.

E2E=required turns "this machine cannot run kind" from a skip into a failure. KEEP_CLUSTER=0 deletes the cluster at the
end. Each of the test files also runs alone: pytest tests/e2e/test_quickstart.py.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cluster import Cluster, MissingError, down, up
from release import Release
from scene import Namespace, fresh_namespace


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stderr.write(f"e2e: {line}\n")

    try:
        made = up(say)
    except MissingError as error:
        if os.environ.get("E2E") == "required":
            pytest.fail(f"E2E=required, but the kind tests cannot run here: {error}")
        pytest.skip(f"THE KIND TESTS WERE NOT RUN: {error}")
    yield made
    if os.environ.get("KEEP_CLUSTER") == "0":
        down()


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> Release:
    """The chart, freshly installed once a session."""
    release = Release(cluster)
    release.uninstall()
    release.install()
    return release


@pytest.fixture
def operator(release: Release) -> Iterator[Release]:
    """The operator at work, also after a test that uninstalled it; it must not crash in any test."""
    if not release.installed:
        release.install()
    yield release
    if release.installed:
        assert release.restarts() == 0, "the operator crashed; see its log: kubectl logs --previous"


@pytest.fixture
def namespace(cluster: Cluster, operator: Release) -> Iterator[Namespace]:
    """A namespace whose pods must pass the restricted Pod Security level."""
    with fresh_namespace(cluster) as made:
        yield made


@pytest.fixture
def chat(namespace: Namespace) -> Namespace:
    """A namespace in which the quickstart's pool is settled."""
    namespace.quickstart()
    return namespace


@pytest.fixture
def chat_with_client(chat: Namespace) -> Namespace:
    """The same with a client pod."""
    chat.start_client()
    return chat
