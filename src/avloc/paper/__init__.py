"""The paper's tables, recomputed: its cells as data, what each row trains, and the runs that fill ours in.

paper           cells verbatim, with their table and page
rows            the configuration of each row
cells           one run: trained, scored, kept
runner          which are missing, and computing them
multiply_adds   Table 4's cost, counted from the modules
show            ours beside the paper's
"""

from avloc.paper.cells import Cell, DataSet, open_data
from avloc.paper.published import PAPER, PaperTable
from avloc.paper.rows import ROWS, Recipe, recipes_of
from avloc.paper.runner import cell_of, compute_all, needed
from avloc.paper.show import Filled, fill, lines_of, narrow, title_of, write_tables

__all__ = [
    "PAPER",
    "ROWS",
    "Cell",
    "DataSet",
    "Filled",
    "PaperTable",
    "Recipe",
    "cell_of",
    "compute_all",
    "fill",
    "lines_of",
    "narrow",
    "needed",
    "open_data",
    "recipes_of",
    "title_of",
    "write_tables",
]
