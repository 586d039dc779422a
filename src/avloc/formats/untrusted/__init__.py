"""Readers for files of unknown origin: nothing in them is executed, and sizes are checked before memory is taken.

arrays   .npy, .npz, .pkl, .pt, .h5 as plain arrays
pickles  a pickle reader that knows arrays and plain values only
rebuild  the few numpy and torch constructors it knows
hdf5     HDF5 without external links
bombs    limits on compressed files
"""
