"""Video files in, frames and audio out; and back.

    find       files, folders and globs -> the videos in them
    container  open a file, choose its streams, read packets past damage
    clock      time stamps as exact seconds
    frames     presentation times of frames, and their pixels as shown
    probe      probe(path) -> Media
    decode     one streaming pass: frames and audio on one clock
    sound      any audio stream -> mono blocks at one rate
    encode     frames and audio -> a video file
    clips      cut clips out of a video
    previews   thumbnails, waveforms, proxies for browsers

Import from the modules: importing this package loads no decoder.
"""
