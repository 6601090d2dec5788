"""What a thought is: a trace of tokens, its cut into episodes, the template around it."""

from mrt_lib.thoughts.templates import TESTBED, Template  # noqa: F401
