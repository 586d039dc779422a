"""Public data sets, read into avloc's types.

open                          recognize and read a data set
collection                    a data set: features, labels, ground truth, notes
tracks                        feature arrays, each with its clock
axes                          which axis of an array is time, which is channels
places, containers            where arrays are stored; files with several
folders                       folders of feature files, in the naming schemes of several projects
ave, ave_labels, wtalc, llp   data sets with a layout of their own
resample                      features from one snippet grid to another
convert                       write a data set as avloc's files
doctor                        summarize a data set and report its problems
"""
