"""What a thought is: a trace of tokens, its cut into episodes, the template around it."""

from mrt_lib.thoughts.templates import R1, R1_SHORT, TEMPLATES, TESTBED, Template, get_template
from mrt_lib.thoughts.traces import Trace

__all__ = ["R1", "R1_SHORT", "TEMPLATES", "TESTBED", "Template", "Trace", "get_template"]
