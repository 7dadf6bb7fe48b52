"""Times and sizes of Flambeau beside PyTorch: `python -m benchmarks`, or `make bench`.

Each framework runs in a child process of its own, with two threads; both run the same workloads,
block by block in turn, so that a change of the machine's speed meets both. A figure is the median
over the blocks.
"""
