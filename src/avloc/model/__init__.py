"""The network and its losses (Eq. 1-10, Appendix D), and the rival models.

batch       padded batches in, snippet outputs out
base        `Model`: what every model is to the rest
fusion      multi-stage cross-attention (Eq. 1-4)
network     embeddings, fusion, open-max classifier (Eq. 5)
losses      Eq. 6-10 and Appendix D as pure functions
wtalc, tian the rivals of Tables 5 and 6
build       the model that a configuration names
checkpoint  model.safetensors: weights and everything needed to use them
files       names of the files in a run folder
"""
