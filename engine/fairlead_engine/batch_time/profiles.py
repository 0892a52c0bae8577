"""Batch-time models by name, each with what it was fitted to.

What is not here, because its source does not identify it well: rows of published tables whose time per token is less than
the card's arithmetic allows, or whose time per batch is less than reading the weights takes.
"""

from collections.abc import Mapping
from types import MappingProxyType

from fairlead_engine.batch_time.models import Attention, BatchTime, Linear, Roofline, Staircase, Table


def _mistral_7b_rtx6000_ada(floor_ms: float, token_ms: float, prefill_pair_ms: float) -> Roofline:
    return Roofline(
        floor_seconds=floor_ms / 1e3,
        token_seconds=token_ms / 1e3,
        pad_tokens=8,
        overhead_seconds=6.7e-3,
        prefill_pair_seconds=prefill_pair_ms / 1e3,
        context_token_seconds=131_072 / 768e9,
    )


MISTRAL_7B_RTX6000_ADA = _mistral_7b_rtx6000_ada(floor_ms=15.6, token_ms=0.0825, prefill_pair_ms=8e-6)
"""Mistral-7B in fp16 on one RTX 6000 Ada.

Fitted to the measurements published with Bari, Hegde and de Veciana, arXiv 2508.01002 (TTFT and mean batch time of a
2048-token prompt, chunks of 64 to 1024 tokens): weights read once bound small batches, 87-98 % of the peak rate large
ones. A decode reads 131 072 bytes of keys and values per token of context (32 layers, 8 KV heads of 128, fp16) at
768 GB/s, 80 % of the card's 960 GB/s.
"""

MISTRAL_7B_RTX6000_ADA_NO_PREFILL_ATTENTION = _mistral_7b_rtx6000_ada(16.6, 0.0905, 0.0)
"""The same measurements, all of a prompt's time ascribed to linear layers: one end of what they allow."""

MISTRAL_7B_RTX6000_ADA_MUCH_PREFILL_ATTENTION = _mistral_7b_rtx6000_ada(14.44, 0.0674, 23.8e-6)
"""The same measurements, fitted without a bound on attention: beyond the other end, since it needs 215 TFLOP/s of a card
that has 182. For asking whether a result depends on the fit."""

CODELLAMA_34B_A100 = Staircase(base_seconds=11.28e-3, tile_seconds=35.47e-3, tile_tokens=128)
"""CodeLlama-34B on one A100-80GB: the fit of Dai, Deng, Li and Peng, arXiv 2504.07347, section 2.3 (R^2 > 0.97)."""

TILES_128 = Staircase(base_seconds=0.0, tile_seconds=4e-3, tile_tokens=128, token_seconds=5e-6)
"""No hardware: eq. (7) of arXiv 2508.01002 with round numbers, 4640 us for a full tile of 128 tokens."""

FAST = Linear(base_seconds=2e-3, token_seconds=50e-6)
"""No hardware: quick enough for tests and a laptop, and still slower the more tokens share a batch."""

_BANDWIDTH_SHARE = 0.8
_ARITHMETIC_SHARE = 0.4
_A100 = (2039e9, 312e12)
_H100 = (3350e9, 989e12)
_A40 = (696e9, 150e12)
"""Bytes and dense fp16 operations per second, by NVIDIA's data sheets (80 GB SXM; A40)."""


def _attention(layers: int, heads: int, kv_heads: int, gpu: tuple[float, float], gpus: int) -> Attention:
    """Return the attention of a model with heads of 128 in fp16, from the data sheet: nobody published it measured.

    80 % of the bandwidth for keys and values that decodes read; 40 % of the arithmetic for the two products of prompts,
    as the measurements behind `MISTRAL_7B_RTX6000_ADA` suggest.
    """
    bytes_per_second, operations_per_second = gpu
    context_token_bytes = layers * kv_heads * 128 * 2 * 2
    pair_operations = layers * heads * 128 * 2 * 2
    return Attention(
        prefill_pair_seconds=pair_operations / (_ARITHMETIC_SHARE * operations_per_second * gpus),
        context_token_seconds=context_token_bytes / (_BANDWIDTH_SHARE * bytes_per_second * gpus),
    )


_VIDUR_TOKENS = (1, 32, 128, 256, 512, 1024, 2048, 4096)


def _vidur(attention: Attention, *milliseconds: float) -> Table:
    """Return a model from the operator profiles of Vidur (microsoft/vidur, data/profiling/compute), with attention added.

    The profiles have every operation but attention; their sums over the layers are our aggregation.
    """
    return Table(_VIDUR_TOKENS, tuple(value / 1e3 for value in milliseconds), attention)


def _llama_2_7b(gpu: tuple[float, float]) -> Attention:
    return _attention(32, 32, 32, gpu, 1)


def _llama_3_8b(gpu: tuple[float, float], gpus: int) -> Attention:
    return _attention(32, 32, 8, gpu, gpus)


def _codellama_34b(gpu: tuple[float, float], gpus: int) -> Attention:
    return _attention(48, 64, 8, gpu, gpus)


def _llama_70b(gpu: tuple[float, float], gpus: int) -> Attention:
    return _attention(80, 64, 8, gpu, gpus)


_VIDUR: Mapping[str, BatchTime] = {
    "llama-2-7b-a100": _vidur(_llama_2_7b(_A100), 9.3, 9.5, 12.2, 17.8, 33.4, 67.9, 133, 258),
    "llama-3-8b-a100": _vidur(_llama_3_8b(_A100, 1), 9.7, 10.9, 13.2, 19.5, 34.6, 75.1, 146, 274),
    "llama-3-8b-a100-tp2": _vidur(_llama_3_8b(_A100, 2), 5.7, 5.7, 7.7, 11.6, 18.3, 36.7, 74.1, 142),
    "codellama-34b-a100-vidur": _vidur(_codellama_34b(_A100, 1), 44.1, 46.2, 51.7, 86.2, 162, 333, 614, 1198),
    "codellama-34b-a100-tp2": _vidur(_codellama_34b(_A100, 2), 22.3, 23.6, 27.6, 43.0, 84.1, 171, 310, 618),
    "llama-2-70b-a100-tp4": _vidur(_llama_70b(_A100, 4), 24.9, 26.1, 33.2, 51.0, 89.3, 184, 330, 641),
    "llama-2-70b-a100-tp8": _vidur(_llama_70b(_A100, 8), 14.2, 14.6, 18.6, 30.4, 51.8, 92.4, 183, 347),
    "llama-2-7b-h100": _vidur(_llama_2_7b(_H100), 5.6, 5.8, 6.4, 9.2, 12.0, 21.0, 40.3, 83.5),
    "codellama-34b-h100": _vidur(_codellama_34b(_H100, 1), 24.4, 24.9, 26.4, 30.5, 53.4, 114, 206, 423),
    "llama-2-70b-h100-tp4": _vidur(_llama_70b(_H100, 4), 14.3, 15.3, 15.9, 19.2, 30.0, 62.1, 111, 223),
    "llama-2-7b-a40": _vidur(_llama_2_7b(_A40), 23.9, 26.4, 30.3, 44.6, 71.1, 137, 260, 523),
}

_BLIS: Mapping[str, BatchTime] = {
    "codellama-34b-h100-blis": Linear(26.595e-3, 96.28e-6, 56.59e-6),
    "llama-3.3-70b-h100-tp4-blis": Linear(12.601e-3, 76.42e-6, 66.84e-6),
}
"""Fits to vLLM 0.8.4 by BLIS (inference-sim/inference-sim, defaults.yaml): base, prompt tokens, decodes; no context."""

PROFILES: Mapping[str, BatchTime] = MappingProxyType(
    {
        "fast": FAST,
        "tiles-128": TILES_128,
        "mistral-7b-rtx6000-ada": MISTRAL_7B_RTX6000_ADA,
        "mistral-7b-rtx6000-ada-g0": MISTRAL_7B_RTX6000_ADA_NO_PREFILL_ATTENTION,
        "mistral-7b-rtx6000-ada-g24": MISTRAL_7B_RTX6000_ADA_MUCH_PREFILL_ATTENTION,
        "codellama-34b-a100": CODELLAMA_34B_A100,
        **_VIDUR,
        **_BLIS,
    }
)
"""Batch-time models by the name that `--profile` takes."""
