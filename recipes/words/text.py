"""How the pretrained model is asked, thinks and answers in words."""

from mrt_lib.thoughts.templates import Template

# The end of a thought is a word that the model knows, at the start of a line; the reserved tokens of its
# vocabulary were never trained and share their rows.
WORDS = Template(
    name="words",
    prompt="<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
    think_end="Answer",
    separator="",
    forced_answer="Answer: ",
    finished_answer="Answer: ",
    answer_end="<|im_end|>",
    boxed_answer=False,
    episode_marker="Try",
    openers=(),
    continue_markers=("Try",),
)
