"""The commands of the command line, one file each: its arguments (`add_arguments`) and what it does (`run`).

`table.py` lists them. A file is imported when its command is called, so that each starts fast. Runs on the main thread.
"""
