"""Which number format and attention this processor is fast in: `python -m benchmarks.number_formats`.

The pretrained model, one thread, twice each: reading 96 tokens, as the update and the prover do, and
generating 8 tokens for each of 4 prompts. Prints tokens per second, and whether
`mrt_lib.models.hardware_dtype`, which looks at the processor's instructions alone, has chosen the faster
format. The result goes into data/results/number_formats.json under the processor's name.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from mrt_lib.engines import Sampling
from mrt_lib.models import hardware_dtype
from mrt_lib.provenance import ROOT, provenance
from mrt_lib.reasoner import Reasoner
from recipes.words.model import load_words, warm_model
from tools.summary import update_json

RESULT = ROOT / "data" / "results" / "number_formats.json"
READ, ROWS, WRITTEN, REPEATS = 96, 4, 8, 2
DTYPES, ATTENTIONS = ("float32", "bfloat16"), ("grouped", "eager", "sdpa")


def rates(reasoner: Reasoner) -> dict[str, float]:
    """Tokens per second, the better of two turns, of both kinds of work."""
    ids = torch.arange(READ)[None] % 1000 + 100
    prompts = [list(range(100 + i, 116 + i)) for i in range(ROWS)]

    @torch.no_grad()
    def read() -> int:
        reasoner.model(input_ids=ids, use_cache=False)
        return READ

    def write() -> int:
        return sum(len(g.token_ids) for g in reasoner.engine.generate(prompts, Sampling(WRITTEN)))

    return {"read": _rate(read), "write": _rate(write)}


def _rate(work: Callable[[], int]) -> float:
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        found.append(work() / (time.perf_counter() - started))
    return max(found)


def processor() -> str:
    """The processor's name as the kernel gives it, or what torch knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return name or str(torch.cpu.get_capabilities()["cpu_name"])


def main() -> int:
    """Measure, print, record; the exit status is 1 if the format chosen here is not the faster one."""
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    for dtype in DTYPES:
        reasoner = load_words(warm_model(), dtype)
        for attention in ATTENTIONS:
            reasoner.model.set_attn_implementation(attention)
            found[f"{dtype}, {attention}"] = own = rates(reasoner)
            print(
                f"{dtype:9} {attention:8} {own['read']:8.0f} read/s {own['write']:8.1f} written/s", flush=True
            )
    best = {kind: max(found, key=lambda name: found[name][kind]) for kind in ("read", "write")}
    chosen, reason = hardware_dtype()
    right = all(name.startswith(chosen) for name in best.values())
    print(f"fastest: {best['read']} (reading), {best['write']} (writing); chosen here: {chosen}, {reason}")
    update_json(RESULT, lambda table: table | {processor(): {"rates": found, "provenance": provenance()}}, {})
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
