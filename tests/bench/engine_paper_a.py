"""Runs the evaluation of arXiv 2508.01002 in the simulator, and writes docs/results/engine-paper-a.json. About 20 minutes.

    .venv/bin/python tests/bench/engine_paper_a.py TRACE

TRACE is sharegpt_8k_filtered_stats_llama2_tokenizer.csv of github.com/agrimUT/SLAI (data/processed_traces, Apache-2.0).
Every run is a process of its own, one at a time, so that its seconds and its memory are its own.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import provenance

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "docs" / "results" / "engine-paper-a.json"
SCHEDULERS = ("vllm", "sarathi", "sarathi-spf", "slai-fcfs-fixed", "slai-spf-fixed", "slai", "slai-priority")
AT_RATE = ["--qps", "1.6"]
TEN_TIMES = ["--qps", "1.6", "--requests", "163840"]
MEDIAN = "ttft.p50<0.5"
CAPACITIES = {
    "median TTFT": MEDIAN,
    "median TTFT and both TBT limits at p99": f"{MEDIAN} and tbt.strict.p99<=0.1 and tbt.relaxed.p99<=0.5",
}


def simulated(trace: Path, *args: str) -> dict[str, Any]:
    """Run `fairlead simulate engine`; its JSON, with the command that gave it and the most memory that it took."""
    command = ["fairlead", "simulate", "engine", *args, "--jobs", "1", "--json", "--trace"]
    program = Path(sys.executable).with_name("fairlead")
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([program, *command[1:], trace], stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} {trace}: exit code {process.returncode}")
        output.seek(0)
        document = json.load(output)
    shown = " ".join(f"'{part}'" if set(part) & set(" <>") else part for part in command)
    return {"command": f"{shown} {trace.name}", "peak_memory_mb": round(usage.ru_maxrss / 1024, 1), "result": document}


def figures(run: dict[str, Any]) -> dict[str, Any]:
    """Add how many times as fast as real time a run went."""
    result = run["result"]
    return {**run, "times_real_time": round(result["sim_seconds"] / result["wall_seconds"])}


def capacity(trace: Path, scheduler: str, condition: str) -> dict[str, Any]:
    """Search a capacity; of its runs, only the one at the capacity is kept."""
    found = simulated(trace, "--scheduler", scheduler, "--qps", "0.2:3:0.2", "--capacity", condition)
    result = found["result"]
    kept = [run for run in result["runs"] if run["qps"] == result["capacity"]["qps"]]
    return {**found, "result": {**result["capacity"], "scheduler": scheduler, "at_capacity": kept[0] if kept else None}}


def main() -> None:
    """Run everything and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=Path)
    trace = parser.parse_args().trace
    head, changed = provenance.committed("engine", "simulator")
    if changed:
        raise SystemExit(
            "engine/ or simulator/ has changes that are not committed: the result would name the wrong commit"
        )
    document = {
        "what": "The evaluation of SLAI (arXiv 2508.01002), simulated",
        "command": f"python tests/bench/engine_paper_a.py {trace.name}",
        "commit": head,
        "date": provenance.today(),
        "machine": f"{provenance.machine()}; one run at a time",
        "trace_sha256": hashlib.sha256(trace.read_bytes()).hexdigest(),
        "runs": [figures(simulated(trace, "--scheduler", name, *AT_RATE)) for name in SCHEDULERS],
        "ten_times_the_requests": [
            figures(simulated(trace, "--scheduler", name, *TEN_TIMES)) for name in ("sarathi", "slai")
        ],
        "capacities": {
            what: [capacity(trace, name, condition) for name in ("sarathi", "sarathi-spf", "slai-spf-fixed", "slai")]
            for what, condition in CAPACITIES.items()
        },
    }
    RESULT.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
