"""Evaluation of files of detections against ground truth.

detection  mAP, the trivial baseline, and a diagnosis of errors
snippets   snippet accuracy and event F1 (AVE's protocol)
further    metrics on request: event F1 with collars, OV-AVEBench's mean, calibration
parsing    LLP's audio, visual and audio-visual F1
reference  ground truth from any readable format
protocols  the evaluation rules of each data set
compare    a paired bootstrap over two results
"""
