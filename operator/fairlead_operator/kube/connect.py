"""How to reach the API server: from inside the cluster, or as kubectl does."""

from pathlib import Path

from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config


async def connect(kubeconfig: Path | None) -> ApiClient:
    """Open a client: with the kubeconfig that is given, else as the pod's ServiceAccount, else as kubectl would.

    Raises
    ------
    ConfigException
        None of the three is there.

    """
    configuration = Configuration()
    if kubeconfig is None:
        try:
            load_incluster_config(client_configuration=configuration)
        except ConfigException:
            await load_kube_config(client_configuration=configuration)
    else:
        await load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    return ApiClient(configuration=configuration)
