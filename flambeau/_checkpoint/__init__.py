"""Parts of `flambeau.serialization`: the ZIP container, the restricted unpickler, and what ties them to tensors."""
