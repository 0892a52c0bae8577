"""The names, types, labels and buckets that Fairlead counts on are those of the metrics that this vLLM exposes."""

import re
from typing import Any

import pytest
from documentation import DOCS, ROOT, named_in_tables
from vllm_metrics import INFO, LIST, families, listed, signature
from vllm_process import MAX_MODEL_LEN, running_mock

NAME = re.compile(r"\bvllm:[a-z0-9_]*[a-z0-9]")
READERS = ("engine", "router", "operator", "simulator", "helm", "manifests")
TEXTS = {".py", ".yaml", ".yml", ".json", ".tpl"}
OF_TOOLS = "vllm:tool_call_parser_invocations"
"""Exposed only from the first request with tools on."""
OF_LORA = "vllm:lora_requests_info"
"""Exposed only with LoRA adapters enabled, as they are here."""
OF_OLDER_VLLM = {"vllm:gpu_cache_usage_perc"}
"""Read from those of a fleet that have no other name for it."""


def names_in_use() -> dict[str, str]:
    """Every name under vLLM's prefix in code, chart or manifests, or with a line in the documentation; and where it is."""
    files = [path for folder in READERS for path in (ROOT / folder).rglob("*") if path.suffix in TEXTS]
    found = {name: str(path.relative_to(ROOT)) for path in files for name in NAME.findall(path.read_text())}
    told = {name: "docs" for name in named_in_tables(*DOCS.rglob("*.md")) if NAME.fullmatch(name)}
    return told | found


IN_USE = names_in_use()
LISTED = listed()


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory):
    """Address of a mock engine with the context length of vLLM, on which buckets depend."""
    with running_mock(tmp_path_factory.mktemp("mock"), "--max-model-len", str(MAX_MODEL_LEN)) as url:
        yield url


@pytest.fixture
async def of_vllm(session, vllm, vllm_metrics) -> dict[str, Any]:
    """The metrics of a vLLM that has answered a request."""
    body = {"model": "tiny", "prompt": "Once", "max_tokens": 3}
    async with session.post(vllm + "/v1/completions", json=body) as answer:
        assert answer.status == 200
    return families((await vllm_metrics.scrape()).text)


@pytest.mark.parametrize("name", LISTED)
async def test_vllm_exposes_a_metric_as_the_list_says(of_vllm, name):
    assert name in of_vllm, f"{LIST.name} has {name}, and this vLLM does not expose it"
    assert signature(of_vllm[name]) == LISTED[name]


async def test_the_list_leaves_no_metric_of_vllm_out(of_vllm):
    assert set(of_vllm) - set(LISTED) <= {OF_TOOLS, OF_LORA}


async def test_a_mock_engine_exposes_nothing_that_differs_from_vllm(session, mock, of_vllm):
    async with session.get(mock + "/metrics") as answer:
        of_mock = families(await answer.text())
    info = of_mock.pop(INFO)
    assert {name: signature(family) for name, family in of_mock.items()} == {
        name: signature(of_vllm[name]) if name in of_vllm else "vLLM does not expose it" for name in of_mock
    }
    assert set(signature(info).split()) <= set(signature(of_vllm[INFO]).split())


@pytest.mark.parametrize("name", IN_USE)
async def test_vllm_exposes_a_metric_that_is_named_in_our_code_or_documentation(of_vllm, name):
    exposed = {s.name for family in of_vllm.values() for s in family.samples} | set(of_vllm)
    if name in OF_OLDER_VLLM:
        assert name not in exposed, f"{name} is not of older versions alone"
    else:
        assert name in exposed, f"{IN_USE[name]} names {name}, and this vLLM does not expose it"
