"""Lower rooms never import higher ones."""

import ast
from pathlib import Path

import pytest

ROOMS = Path("mrt_lib")
FLOORS = {
    "": 7,
    "packages": 1,
    "environment": 1,
    "results": 1,
    "batching": 1,
    "checkpoints": 1,
    "schedule": 1,
    "interrupts": 1,
    "stats": 1,
    "verdicts": 1,
    "tasks": 1,
    "templates": 1,
    "traces": 2,
    "episodes": 2,
    "engines": 2,
    "packing": 2,
    "reasoner": 2,
    "rollouts": 3,
    "prover": 3,
    "reference": 3,
    "progress": 3,
    "regret": 3,
    "voting": 3,
    "waste": 3,
    "learner": 4,
    "losses": 4,
    "algorithms": 4,
    "curriculum": 5,
    "train_config": 5,
    "guards": 5,
    "token_rows": 5,
    "updates": 5,
    "metrics": 5,
    "training": 5,
    "star": 5,
    "presets": 5,
    "memory": 5,
    "adapters": 5,
    "budget_forcing": 4,
    "evaluation": 5,
    "finetuning": 5,
    "measured": 5,
    "observation": 5,
    "overthinking": 5,
    "test_time": 5,
    "base_reasoner": 6,
    "base_checks": 6,
    "backtracking_base": 6,
    "backtracking_checks": 6,
    "backtracking_evaluation": 6,
    "backtracking_plots": 6,
    "warm_start": 6,
    "boards": 6,
    "palette": 6,
    "plots": 6,
    "live": 6,
    "overthinking_plots": 6,
    "test_time_plots": 6,
    "verdict_plots": 6,
    "report_page": 6,
    "reporting": 6,
    "integrations": 6,
}


def room(path: Path) -> str:
    return path.relative_to(ROOMS).parts[0].removesuffix(".py").replace("__init__", "")


def imported_rooms(path: Path) -> set[str]:
    names = [n.module for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
    names += [
        a.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Import) for a in n.names
    ]
    return {name.split(".")[1] for name in names if name and name.startswith("mrt_lib.")}


@pytest.mark.parametrize("path", sorted(ROOMS.rglob("*.py")), ids=str)
def test_imports_point_downwards(path):
    higher = {r for r in imported_rooms(path) if FLOORS[r] > FLOORS[room(path)]}
    assert not higher
