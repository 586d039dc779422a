"""The field's data sets, read into our types.

open       find out what a folder or file holds, and read it
collection what a data set is to us: features, labels, ground truth, and what was odd
tracks     arrays of features, one a modality, on one clock
folders    folders of feature files, with the naming rules of several projects
ave, ave_labels, wtalc, llp   data sets with a layout of their own
resample   features from one snippet grid to another
convert    a data set written out as our files
doctor     what a data set holds, and what is wrong with it
"""
