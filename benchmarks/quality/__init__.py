"""Accuracy of the program's defaults beside simple and expert rivals, over many small image sets.

    python -m benchmarks.quality FOLDER --sizes 100,400 --seeds 0,1

`FOLDER` holds one folder or tar archive per set, each with `train/CLASS/*.jpg` and `test/CLASS/*.jpg`. A cell is a set, a
size (number of training images), a seed and a method; each runs in a process of its own, and its result is written at once,
so the same command continues where it was stopped. `sets.py` finds and lays out the images, `methods.py` has the rivals,
`cells.py` the file of results, `run.py` runs what is missing, and `table.py` compares.
"""
