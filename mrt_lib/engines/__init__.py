"""Engines: Transformers everywhere, vLLM where it is installed."""

from mrt_lib.engines.base import ColocatedEngine, Engine, Generation, Sampling
from mrt_lib.engines.transformers_engine import TransformersEngine

__all__ = ["ColocatedEngine", "Engine", "Generation", "Sampling", "TransformersEngine"]
