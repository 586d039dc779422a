"""Files, locks, processes and names: nothing here knows about video.

atomic         write a file completely or not at all; errors of the disk in plain words
locks          one process at a time in a folder
pool           process pools that end with their parent
isolate        run a function on many items in processes that may crash, hang or run out of memory
isolate_child  the other end, inside such a process
text           names and labels as file names, in tables and on a terminal
moved          old import paths that still work
"""
