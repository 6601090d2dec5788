"""`python -m experiments [--jobs N]`: run what is missing, most needed first; resumes."""

from experiments.plan import plan
from experiments.run import execute
from experiments.schedule import command_line

if __name__ == "__main__":
    command_line("experiments.run", __doc__, plan, execute)
