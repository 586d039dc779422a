"""Video files in, features out.

    find.py       files, folders, globs -> the videos in them
    container.py  opening a file, choosing its streams, reading packets past damage
    probe.py      probe(path) -> Media
    decode.py     one streaming pass: pictures and sound on the picture's clock
    sound.py      any sound stream -> mono blocks at one rate, sample n at time n / rate
    backbones/    snippets -> vectors
    extract.py    Media -> FeatureSequence
    guard.py      work on files in processes that may die (guarded.py is what runs there)

Import from the modules (`from avloc.media.probe import probe`): importing this package loads no decoder.
"""
