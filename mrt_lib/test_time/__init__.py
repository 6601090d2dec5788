"""Test-time methods, all with the same `solve(solver, problems, seed) -> Outcome`, tokens counted apart."""

# ruff: noqa: F401
from mrt_lib.test_time.base import OracleValue, Outcome, OwnValue, Scorer, Scores, Solver, stopped
from mrt_lib.test_time.samples import BestOfN, MajorityAtK, PassAtK, Samples, StopAndVote, draw
