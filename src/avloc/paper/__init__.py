"""The paper's tables and figures, recomputed.

published      the printed cells, with table and page number
rows           the settings of each row
cells          one run: train, score, store
runner         find the missing runs and compute them
plan           whole tables: the cells they need, filled and written
show           our numbers beside the paper's, as text, CSV and Markdown
multiply_adds  Table 4's cost, counted from the modules
figures        Figures 2-5 from the same runs: models and videos
drawing        the drawing of Figures 2-5
"""
