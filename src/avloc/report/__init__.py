"""What a person looks at.

page     the interactive page, as files
serve    the page served on this machine, with corrections saved
plots    every figure of a run, as files
clips    short clips to check by eye
sources  where the parts of a result lie: runs, features, videos, ground truth
"""
