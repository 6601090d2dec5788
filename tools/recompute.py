"""`python -m tools.recompute`: the headline numbers from the raw files, by numpy and none of our own code."""

import csv
import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

RUNS = Path("data/results/runs")
BUDGET, TOKENS_AT_BUDGET = 4, 14 + 11 * 4 + 3 + 2  # episodes; prompt, four trials, forced end, answer
TOKENS = np.arange(20, 221, 10)
Setting = tuple[str, str, str, float]


def read_runs() -> dict[Setting, dict[int, Any]]:
    """Runs of the main size by arm without its control's suffix, base, knob and rate; then by seed."""
    found: dict[Setting, dict[int, Any]] = defaultdict(dict)
    for path in RUNS.glob("*/run.json"):
        run = (facts := json.loads(path.read_text()))["run"]
        if run["task"] == "root_search_31" and (run["steps"], run["prompts"]) in ((160, 8), (0, 8)):
            key = (run["arm"].split("_at_")[0], run["base"], str(run["knob"]), run["rate"])
            found[key][run["seed"]] = facts | {"folder": path.parent}
    return found


def tuned(runs: dict[Setting, dict[int, Any]], arm: str, base: str, fine: bool) -> Setting:
    """The setting with the best validation J: of the fine tuning once it is whole, else of the first."""
    grids = {key: own for key, own in runs.items() if key[:2] == (arm, base)}
    threes = {key: [own[n] for n in (1010, 1011, 1012)] for key, own in grids.items() if 1012 in own}
    ones = {key: [own[1000]] for key, own in grids.items() if 1000 in own}
    grid = threes if fine and len(threes) == 6 else ones
    return max(grid, key=lambda key: np.mean([facts["validation_J4"] for facts in grid[key]]))


def arrays(own: dict[int, Any], name: str, seeds: list[int]) -> np.ndarray:
    return np.stack([np.load(own[n]["folder"] / "arrays.npz")[name].astype(float) for n in seeds])


def test_seeds(*arms: dict[int, Any]) -> list[int]:
    return sorted(n for n in set.intersection(*map(set, arms)) if n < 1000)


def final(own: dict[int, Any], seeds: list[int] | None = None) -> float:
    return arrays(own, "value", seeds or test_seeds(own))[..., BUDGET].mean()


def gain_ratio(arm: dict[int, Any], rival: dict[int, Any], base: dict[int, Any]) -> float:
    seeds, start = test_seeds(arm, rival), final(base)
    return (final(arm, seeds) - start) / (final(rival, seeds) - start)


def tokens_to_best(arm: dict[int, Any], rival: dict[int, Any], kinds: tuple[str, ...]) -> float:
    """Mean over seeds: tokens until the rival's best validation J is reached, as a share of the rival's."""

    def marks(facts: dict[str, Any]) -> np.ndarray:
        with gzip.open(facts["folder"] / "log.csv.gz", "rt") as file:
            rows = list(csv.DictReader(file))
        tokens = np.cumsum([sum(float(row[kind]) for kind in kinds) for row in rows])
        return np.array(
            [(t, float(r["validation_J4"])) for t, r in zip(tokens, rows, strict=True) if r["validation_J4"]]
        )

    pairs = [(marks(arm[n]), marks(rival[n])) for n in test_seeds(arm, rival)]
    needed = [own[own[:, 1] >= other[:, 1].max(), 0].min(initial=np.inf) for own, other in pairs]
    return float(np.mean(needed / np.array([other[other[:, 1].argmax(), 0] for _, other in pairs])))


def token_efficiency(arm: dict[int, Any], rival: dict[int, Any]) -> float:
    own, other = (arrays(a, "at_tokens", test_seeds(arm, rival)).mean((0, 1)) for a in (arm, rival))
    target = np.interp(TOKENS_AT_BUDGET, TOKENS, other)
    after = int(np.argmax(own >= target))
    return TOKENS_AT_BUDGET / np.interp(target, own[after - 1 : after + 1], TOKENS[after - 1 : after + 1])


def headline() -> dict[str, float]:
    runs = read_runs()
    base, weak_base = (runs["untrained", name, "None", 0.0] for name in ("base", "weak"))
    names = ("grpo", "grpo_exact", "mrt_regret_to_go", "mrt_online_4")
    grpo, _, mrt, online = (runs[tuned(runs, name, "base", fine=False)] for name in names)
    outcome, noiseless, credit = (runs[tuned(runs, name, "base", fine=True)] for name in names[:3])
    weak, exact_weak = (runs[tuned(runs, name, "weak", fine=False)] for name in (names[2], names[1]))
    return {
        "i2.J4_grpo": final(grpo),
        "i2.J4_best": final(mrt),
        "i2.gain_ratio_train_budget": gain_ratio(mrt, grpo, base),
        "i2.token_efficiency": token_efficiency(mrt, grpo),
        "i2.tokens_to_grpo_best": tokens_to_best(mrt, grpo, ("policy_tokens",)),
        "evidence.tokens_to_grpo_best_read": tokens_to_best(mrt, grpo, ("policy_tokens", "prover_tokens")),
        "evidence.gain_ratio": gain_ratio(credit, outcome, base),
        "evidence.gain_ratio_paper": gain_ratio(online, outcome, base),
        "evidence.credit_over_exact_outcome": gain_ratio(credit, noiseless, base),
        "evidence.credit_over_exact_outcome_weak": gain_ratio(weak, exact_weak, weak_base),
    }


if __name__ == "__main__":
    print(json.dumps(headline(), indent=1))
