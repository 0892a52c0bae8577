"""Routing policies by name.

What filters is the same for all of them and is the decider's: it leaves out endpoints that are not ready, those that
were tried, and those whose breaker is open. A policy is the rest: which of the candidates gets the request. Most score
the candidates and pick among the best (`Scored`); a new one is one more function and one more line here.

| policy | prefers | source | loses when |
|---|---|---|---|
| rad | the endpoint where it delays itself and others least | arXiv 2508.01002, and here | predictions are bad |
| least-request | fewest requests in flight | every load balancer | requests differ much in length |
| round-robin | every endpoint in turn | every load balancer | engines differ in speed, or requests in length |
| random | any | arXiv 2508.01002: enough for throughput | delay matters |
| power-of-two | the less loaded of two drawn at random | Mitzenmacher, 2001 | there is a better third |
| least-kv | fewest KV tokens reserved | production-stack, AIBrix | prefill is the bottleneck |
| prefix-hash | the prompt's place on a hash ring, unless it is loaded above 1.25 times the mean | KubeAI; Mirrokni et al., 2018 | few prefixes are hot |
| lmetric | prefill tokens to compute times requests in the batch | arXiv 2603.15202 | SLOs differ |
"""

from collections.abc import Callable, Mapping
from random import Random

from fairlead_router.decisions.policies.affinity import PrefixHash
from fairlead_router.decisions.policies.policy import Choice, Policy, Rotation, Scored
from fairlead_router.decisions.policies.rad import least_delay
from fairlead_router.decisions.policies.scores import fewest_in_flight, least_kv, prefill_times_batch
from fairlead_router.decisions.policies.spread import AnyEndpoint, InTurn, LessLoadedOfTwo

__all__ = ["NAMING_PREFIXES", "POLICIES", "Choice", "Policy"]

POLICIES: Mapping[str, Callable[[Random], Policy]] = {
    "rad": lambda random: Scored(least_delay, Rotation(random).pick),
    "least-request": lambda random: Scored(fewest_in_flight, Rotation(random).pick),
    "round-robin": lambda random: InTurn(Rotation(random)),
    "random": AnyEndpoint,
    "power-of-two": LessLoadedOfTwo,
    "least-kv": lambda random: Scored(least_kv, Rotation(random).pick),
    "prefix-hash": lambda random: PrefixHash(Rotation(random)),
    "lmetric": lambda random: Scored(prefill_times_batch, Rotation(random).pick),
}
NAMING_PREFIXES = frozenset({"rad", "prefix-hash", "lmetric"})
"""Policies that look at the blocks of prompts."""
