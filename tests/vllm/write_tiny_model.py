"""Write a Llama of 850 000 random weights, with a tokeniser to fit, that `vllm serve` loads as any other model.

    .cache/vllm/venv/bin/python tests/vllm/write_tiny_model.py FOLDER

Runs where vLLM is installed. The same weights every time, so wide apart that no rounding decides which token is
likeliest: a request at temperature 0 has one answer. It never ends by itself, but where its length says.
"""

import json
import random
import string
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "vocab_size": 2048,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "torch_dtype": "float32",
    "bos_token_id": 0,
    "eos_token_id": 1,
    "tie_word_embeddings": False,
}
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "model_max_length": CONFIG["max_position_embeddings"],
    "chat_template": "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:",
}
SHARPNESS = 3.0
"""Standard deviation of the logits: at 1, the two likeliest of 2048 tokens are often as good as equal."""


def tokenizer() -> Tokenizer:
    """Train byte pairs on made-up words: any text can be encoded, and 2048 tokens are enough."""
    rng = random.Random(0)
    words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9))) for _ in range(3000)]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"],
        special_tokens=[TOKENIZER_CONFIG[token] for token in ("bos_token", "eos_token", "unk_token")],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator((" ".join(rng.choices(words, k=30)) for _ in range(2000)), trainer)
    return trained


def weights() -> dict[str, np.ndarray]:
    """Draw every matrix of the model; the norms let everything through."""
    rng = np.random.default_rng(0)
    hidden, inner, vocabulary = (CONFIG[size] for size in ("hidden_size", "intermediate_size", "vocab_size"))

    def matrix(outputs: int, inputs: int, scale: float = 1.0) -> np.ndarray:
        return (rng.standard_normal((outputs, inputs)) * scale / np.sqrt(inputs)).astype(np.float32)

    ones = np.ones(hidden, np.float32)
    head = matrix(vocabulary, hidden, SHARPNESS)
    head[CONFIG["eos_token_id"]] = 0  # its logit is 0 then, where the likeliest of 2048 is about 10
    drawn = {
        "model.embed_tokens.weight": matrix(vocabulary, hidden, np.sqrt(hidden)),
        "lm_head.weight": head,
        "model.norm.weight": ones,
    }
    for layer in range(CONFIG["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        drawn |= {f"{prefix}.self_attn.{part}_proj.weight": matrix(hidden, hidden) for part in "qkvo"}
        drawn |= {f"{prefix}.mlp.{part}_proj.weight": matrix(inner, hidden) for part in ("gate", "up")}
        drawn[f"{prefix}.mlp.down_proj.weight"] = matrix(hidden, inner)
        drawn |= {f"{prefix}.{norm}_layernorm.weight": ones for norm in ("input", "post_attention")}
    return drawn


def main(folder: Path) -> None:
    """Write the model's files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG))
    tokenizer().save(str(folder / "tokenizer.json"))
    save_file(weights(), folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
