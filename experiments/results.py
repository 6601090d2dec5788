"""`python -m experiments.results`: rebuild tables, figures and headline numbers from the raw runs."""

from experiments import backtracking_results, curriculum_results, grid_results, star, words_results
from experiments.evidence import write_evidence
from experiments.figures import write_figures
from experiments.headline import write_headline
from experiments.tables import write_tables
from experiments.test_time_results import write_results

if __name__ == "__main__":
    write_tables()
    write_headline()
    write_evidence()
    write_results()
    star.write_headline()
    backtracking_results.write_results()
    curriculum_results.write_results()
    words_results.write_results()
    grid_results.write_results()
    write_figures()
