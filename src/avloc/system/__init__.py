"""Files, locks, processes and text: general utilities, independent of video and of the models.

atomic         atomic file writes; disk errors as InputError or StorageError
outputs        files of others in a results folder are kept; links out of it are refused
locks          one process at a time per folder
isolate        run a function on many items in processes that may crash, hang or run out of memory, and that end with
               their parent process
isolate_child  the code that runs inside such a process, and the messages between the two
allocator      settings of the C library's memory allocator
text           names and labels as file names, in tables and on a terminal
moved          deprecated import paths
"""
