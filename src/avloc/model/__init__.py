"""The network and its losses (Eq. 1-10, Appendix D), and the rival models.

batch       input and output of a model; windows of long videos
base        `Model`, the interface of all models
fusion      multi-stage cross-attention (Eq. 1-4)
network     embeddings, fusion, open-max classifier (Eq. 5)
losses      Eq. 6-10 and Appendix D as pure functions
wtalc, tian the rival models of Tables 5 and 6
build       `build`: a configuration's model
checkpoint  model.safetensors: weights, classes, feature sizes, configuration
files       names of the files in a run folder
"""
