"""Parts of `flambeau.serialization`: the container, the unpickler, tensors over storages."""
