"""Modules over several devices: there is one, the CPU, so a module runs as it is."""

from .data_parallel import DataParallel, data_parallel

__all__ = ["DataParallel", "data_parallel"]
