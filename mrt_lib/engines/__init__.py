"""Engines: Transformers everywhere, vLLM where it is installed."""

from mrt_lib.engines.base import Generation, Sampling  # noqa: F401
from mrt_lib.engines.transformers_engine import TransformersEngine as TransformersEngine
