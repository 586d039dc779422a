"""What pretrained taggers hear and see: words to classes, and scores of words per snippet.

    classes      AudioSet's 527 and ImageNet's 1,000 classes by name
    vocabulary   a user's words as groups of these classes (`Concept`)
    heads        class scores of stored features, without decoding the video again
    evidence     scores of concepts per snippet, fused over audio and frames

Import from the modules.
"""
