"""What is read from the arguments of engines."""

import pytest

from fairlead_operator.api.engine_facts import engine_facts
from fairlead_router.config import Engine


@pytest.mark.parametrize(
    ("engine_type", "arguments", "facts"),
    [
        ("vllm", (), Engine()),
        ("mock", (), Engine(max_num_seqs=128, batch_tokens=512)),
        ("vllm", ("--max-num-seqs", "64", "--max-num-batched-tokens=4096"), Engine(max_num_seqs=64, batch_tokens=4096)),
        ("mock", ("--max-num-seqs=1", "--max-num-seqs=7"), Engine(max_num_seqs=7, batch_tokens=512)),
        ("vllm", ("--scheduling-policy", "priority"), Engine(priority="lower-first")),
        ("vllm", ("--scheduling-policy=fcfs",), Engine()),
        ("mock", ("--scheduling-policy=priority",), Engine(max_num_seqs=128, batch_tokens=512)),
        ("vllm", ("--max-num-seqs",), Engine()),
        ("vllm", ("--max-num-seqs", "many"), Engine()),
    ],
)
def test_arguments_say_what_an_engine_can_do(engine_type, arguments, facts):
    assert engine_facts(engine_type, arguments) == facts
