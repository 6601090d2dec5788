"""Test-time methods, all with the same `solve(solver, problems, seed) -> Outcome`, tokens counted apart."""

from mrt_lib.test_time.base import Method, Outcome, Solver
from mrt_lib.test_time.beam import Beam
from mrt_lib.test_time.best_of_n import BestOfN
from mrt_lib.test_time.forcing import BudgetForcing
from mrt_lib.test_time.linearised import Linearised
from mrt_lib.test_time.parallel import MajorityAtK, PassAtK
from mrt_lib.test_time.scores import OracleValue, OwnValue
from mrt_lib.test_time.stop_and_vote import StopAndVote
from mrt_lib.test_time.verifier import Verifier, load_verifier, save_verifier, train_verifier

__all__ = [
    "Beam",
    "BestOfN",
    "BudgetForcing",
    "Linearised",
    "MajorityAtK",
    "Method",
    "OracleValue",
    "Outcome",
    "OwnValue",
    "PassAtK",
    "Solver",
    "StopAndVote",
    "Verifier",
    "load_verifier",
    "save_verifier",
    "train_verifier",
]
