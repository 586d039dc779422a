"""The page on which draft labels of `avloc tag` are ticked or struck out, with the moment played."""
