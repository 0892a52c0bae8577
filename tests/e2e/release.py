"""The chart as the tests install it."""

from dataclasses import dataclass

from cluster import COMPONENTS, Cluster, succeeds
from scene import OPERATOR_NAMESPACE, RESTRICTED

NAME = "fairlead"
CHART = "helm/fairlead"


@dataclass
class Release:
    """The Helm release of the operator."""

    cluster: Cluster
    installed: bool = False
    """With the chart's own values; `install` with others leaves it to the next test to install again."""

    def helm(self, *arguments: str) -> str:
        return self.cluster.run("helm", "--namespace", OPERATOR_NAMESPACE, *arguments, timeout=240)

    def install(self, *arguments: str) -> None:
        """Install or upgrade, and wait until the operator is ready."""
        images = [f"--set=image.{name}={self.cluster.images[name]}" for name in COMPONENTS]
        self._restrict_namespace()
        self.helm("upgrade", "--install", NAME, CHART, *images, "--wait", "--timeout=180s", *arguments)
        self.installed = not arguments

    def uninstall(self) -> None:
        """Uninstall and wait until the operator's pods are gone."""
        self.helm("uninstall", NAME, "--ignore-not-found", "--wait", "--timeout=180s")
        self.installed = False

    def operator_pod(self) -> str:
        """Give the name of the newest operator pod."""
        selector = "--selector=app.kubernetes.io/component=operator"
        listed = self.kubectl("get", "pods", selector, "--sort-by=.metadata.creationTimestamp", "--output=name")
        return listed.split()[-1].removeprefix("pod/")

    def restarts(self) -> int:
        """How often the operator's container was started anew: each is a crash."""
        statuses = self.kubectl(
            "get", "pod", self.operator_pod(), "--output=jsonpath={.status.containerStatuses[*].restartCount}"
        )
        return int(statuses or 0)

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.run("kubectl", "--namespace", OPERATOR_NAMESPACE, *arguments)

    def _restrict_namespace(self) -> None:
        if not succeeds("kubectl", "get", "namespace", OPERATOR_NAMESPACE, environment=self.cluster.environment):
            self.cluster.run("kubectl", "create", "namespace", OPERATOR_NAMESPACE)
        self.cluster.run("kubectl", "label", "--overwrite", "namespace", OPERATOR_NAMESPACE, RESTRICTED)
