"""Parts of the data loader: collation, fetching, workers and their transport."""

from . import collate, fetch, iterators, worker

__all__ = ["collate", "fetch", "iterators", "worker"]
