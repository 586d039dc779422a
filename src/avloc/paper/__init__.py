"""The paper's tables and figures, recomputed.

published      the printed cells, with table and page
rows           the settings of each row
cells          one run: trained, scored, kept
runner         which runs are missing, and computing them
plan           tables -> cells -> tables, filled and written
show           our numbers beside the paper's
multiply_adds  Table 4's cost, counted from the modules
figures        Figures 2-5 from the same runs
drawing        how those figures are drawn
"""
