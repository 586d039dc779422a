"""Decoding and encoding of video files.

    find       find the video files in files, folders and globs
    container  open a file, choose its streams, read and decode packets, seek
    pyav       what differs between the releases of PyAV
    clock      exact time stamps in seconds
    frames     presentation times of frames, and their pixels as shown
    probe      probe(path) -> Media
    decode     one streaming pass: frames and audio on one clock
    sound      any audio stream -> mono blocks at one sample rate
    mix        several audio streams -> their mean
    encode     frames and audio -> an mp4 file
    clips      cut clips out of a video
    previews   thumbnails, waveforms and browser-playable proxies

Import from the modules: importing this package loads no decoder.
"""
