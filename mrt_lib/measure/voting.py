"""What several answers to one prefix are worth: pass@k and majority votes."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

ENUMERATE = 2000  # up to so many subsets, every one is counted
DRAWN = 10_000  # of more


def pass_at_k(n: int, right: int, k: int) -> float:
    """Probability that at least one of k answers is right: 1 - C(n - right, k) / C(n, k).

    Unbiased from `right` in 0..n right ones among n independent answers, k in 1..n; else ValueError.
    """
    if not 0 <= right <= n:
        raise ValueError(f"right must be in 0..{n}, the number of answers; got {right}")
    _check_k(k, n)
    subsets = math.comb(n, k)
    return (subsets - math.comb(n - right, k)) / subsets


def majority_at_k(
    answers: Sequence[str], gold: str, k: int, mean_log_probs: Sequence[float] | None = None, *, seed: int = 0
) -> float:
    """Probability that the majority of k of the answers, drawn without replacement, is right.

    As in the released code (`regret_additional.ipynb`; paper, Appendix E): the gold answer wins over its
    heaviest rival, a tie counts 1/2 however many share the lead, so each of three different answers would, as
    the gold one, get 1/2 from their vote. Answers that could not be read ("") are no rivals. Exact for up to
    2000 subsets.

    Args:
        answers: n answers, "" where nothing was parsed; equal answers must be equal strings.
        gold: the right answer.
        k: answers in a vote.
        mean_log_probs: mean log-probability (nats) of each answer's tokens; a vote then weighs
            2 ** mean_log_prob, to the letter of the released code. None: each weighs 1.
        seed: of 10,000 subsets that are drawn where there are more than 2000.

    ValueError: gold is empty, not 1 <= k <= n, log-probabilities not n or not finite.
    """
    _check_k(k, len(answers))
    if not gold:
        raise ValueError('gold is empty; "" stands for an answer that could not be read')
    logs = np.asarray([0.0] * len(answers) if mean_log_probs is None else mean_log_probs, dtype=float)
    if logs.shape != (len(answers),) or not np.isfinite(logs).all():
        raise ValueError(f"mean_log_probs must be {len(answers)} finite numbers, got {mean_log_probs}")
    weights = np.exp2(logs)
    picked: np.ndarray  # positions, shape (subsets, k)
    if math.comb(len(answers), k) <= ENUMERATE:
        picked = np.array(list(itertools.combinations(range(len(answers)), k)))
    else:
        picked = np.argsort(np.random.default_rng(seed).random((DRAWN, len(answers))), axis=1)[:, :k]

    def weight_of(answer: str) -> np.ndarray:  # in every subset
        return np.where([other == answer for other in answers], weights, 0.0)[picked].sum(axis=1)

    own, rivals = weight_of(gold), [weight_of(rival) for rival in set(answers) - {gold, ""}]
    best = np.max([np.zeros_like(own), *rivals], axis=0)
    return float(np.mean(np.where(own == best, 0.5 * (own > 0), own > best)))


def _check_k(k: int, n: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"k must be in 1..{n}, the number of answers; got {k}")
