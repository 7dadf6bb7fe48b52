"""Images: data sets, transforms and drawing, under torchvision's names.

`flambeau.vision.datasets`, `flambeau.vision.transforms` and `flambeau.vision.utils` are what
scripts know as `torchvision.datasets`, `torchvision.transforms` and `torchvision.utils`. Networks
(`torchvision.models`), operators (`ops`) and video (`io`) will be packages beside them.

Pillow and NumPy are imported on first use, by the function that needs them.
"""

from flambeau.vision import datasets, transforms, utils

__all__ = ["datasets", "transforms", "utils"]
