"""Data sets that show what their workers do, and loaders of either kind of worker."""

from flambeau.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info


class Items(Dataset):
    """Item i is `function(i)`."""

    def __init__(self, function, count=8):
        self.function = function
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.function(index)


class Stream(IterableDataset):
    """0, 1, ..., count - 1, shared out among the workers, or all of it from each."""

    def __init__(self, count, split=True):
        self.count = count
        self.split = split

    def __iter__(self):
        info = get_worker_info()
        assert info.dataset is self
        if not self.split:
            return iter(range(self.count))
        return iter(range(info.id, self.count, info.num_workers))


class Fails:
    """Raises `error` at one index, and returns the others."""

    def __init__(self, error, at=3):
        self.error = error
        self.at = at

    def __call__(self, index):
        if index == self.at:
            raise self.error
        return index


def identity(index):
    return index


def load(dataset, worker_type="process", **options):
    workers = options.pop("num_workers", 2)
    return DataLoader(dataset, num_workers=workers, worker_type=worker_type, **options)
