"""Readers for files of unknown origin. They execute nothing and check sizes before allocating memory.

arrays   .npy, .npz, .pkl and .pt as plain arrays
pickles  a pickle reader for arrays and plain values only
rebuild  the numpy constructors it supports
hdf5     HDF5 without external links
torch_files  .pt and .pth files, checked before torch reads them
bombs    limits on decompressed size, on directories and headers
budget   limits on the memory that a file may become
"""
