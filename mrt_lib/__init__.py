"""Meta reinforcement fine-tuning: episodes, meta-prover, progress, regret."""

__version__ = "0.1.0"
