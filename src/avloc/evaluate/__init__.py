"""Detections against ground truth: files in, scores out.

detection  mAP, with the trivial baseline beside it; where mAP is lost
snippets   snippet accuracy and event F1 (AVE's protocol)
parsing    LLP's audio, visual and audio-visual F1
reference  ground truth from any format that can be read
protocols  the evaluation rules of each data set
compare    which of two results is better, with a paired bootstrap
"""
