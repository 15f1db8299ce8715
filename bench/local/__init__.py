"""Local copies of public datasets, written in the columns of the hub dataset that an example names.

``python -m bench.local NAME OUT [--data DIR]`` reads ``DIR/NAME`` (default: ``shared/data`` beside the project) and writes
files that the example's task file takes with ``--set data.source=OUT/train.csv``. One module a dataset, each with a
``write(folder, out)`` that returns the files it wrote.
"""
