"""Grids of images."""

import io

import numpy as np
import pytest

import flambeau as torch
from flambeau.vision.utils import make_grid, save_image


def test_grid_places_images_row_by_row():
    images = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 3, 2, 4)
    grid = make_grid(images, nrow=3, padding=1, pad_value=9.0)
    assert grid.shape == (3, 7, 16)
    expected = np.full((7, 16), 9.0)
    for index in range(5):
        y, x = index // 3 * 3 + 1, index % 3 * 5 + 1
        expected[y : y + 2, x : x + 4] = index
    np.testing.assert_array_equal(grid[0].numpy(), expected)


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (3, 4, 5), (1, 1, 4, 5)])
def test_one_image_is_its_own_grid(shape):
    assert make_grid(torch.ones(shape)).shape == (3, 4, 5)


def test_list_of_images():
    images = [torch.zeros(3, 2, 2), torch.ones(3, 2, 2)]
    assert bool((make_grid(images) == make_grid(torch.stack(images))).all())
    with pytest.raises(TypeError, match="list of tensors"):
        make_grid([1, 2])


def test_normalize_whole_each_and_range():
    images = torch.stack([torch.linspace(0, 1, 4), torch.linspace(0, 2, 4)]).reshape(2, 1, 2, 2)
    whole = make_grid(images, padding=0, normalize=True)
    assert (whole[0, :, :2].max().item(), whole[0, :, 2:].max().item()) == (0.5, 1.0)
    each = make_grid(images, padding=0, normalize=True, scale_each=True)
    assert each[0, :, :2].max().item() == 1.0
    ranged = make_grid(images, padding=0, normalize=True, value_range=(0, 0.5))
    assert ranged.max().item() == 1.0
    assert images.max().item() == 2.0  # the argument is not changed


@pytest.mark.parametrize("kind", ["path", "file"])
def test_save_image_writes_what_it_was_given(kind, tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    image = torch.linspace(0, 1, 12).reshape(3, 2, 2)
    target = tmp_path / "a.png" if kind == "path" else io.BytesIO()
    save_image(image, target, format="PNG")
    pixels = np.asarray(pillow.open(target))
    expected = (image.numpy() * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
    np.testing.assert_array_equal(pixels, expected)
