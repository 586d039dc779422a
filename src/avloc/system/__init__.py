"""Files, locks, processes and text: general utilities, independent of video and of the models.

atomic         atomic file writes; disk errors as InputError or StorageError
locks          one process at a time per folder
pool           process pools that end with their parent process
isolate        run a function on many items in processes that may crash, hang or run out of memory
isolate_child  the code that runs inside such a process, and the messages between the two
text           names and labels as file names, in tables and on a terminal
moved          deprecated import paths
"""
