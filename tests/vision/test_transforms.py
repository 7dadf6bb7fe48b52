"""Transforms against NumPy, Pillow and the definition; tensors and Pillow images alike."""

import math

import numpy as np
import pytest

import flambeau as torch
from flambeau.vision import transforms as T
from flambeau.vision.transforms import functional as F

Image = pytest.importorskip("PIL.Image")
NEAREST, BILINEAR = T.InterpolationMode.NEAREST, T.InterpolationMode.BILINEAR
BICUBIC = T.InterpolationMode.BICUBIC


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)


@pytest.fixture
def smooth():
    """An image without sharp edges: interpolations differ little on it."""
    y, x = np.mgrid[0:24, 0:32]
    planes = [127 + 120 * np.sin((k + 1) * x / 16 + y / (9 + k)) for k in range(3)]
    return np.stack(planes, 2).astype(np.uint8)


def to_tensor(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def to_pixels(image):
    if isinstance(image, torch.Tensor):
        return image.numpy().transpose(1, 2, 0)
    result = np.asarray(image)
    return result if result.ndim == 3 else result[:, :, None]


def both(pixels):
    return [Image.fromarray(pixels), to_tensor(pixels)]


# ---- conversion


def test_to_tensor_scales_bytes(pixels):
    result = T.ToTensor()(Image.fromarray(pixels))
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), pixels.transpose(2, 0, 1) / 255, atol=1e-7)
    assert bool((T.ToTensor()(pixels) == result).all())


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [("L", "float32"), ("1", "float32"), ("I", "int32"), ("F", "float32"), ("I;16", "int16")],
)
def test_to_tensor_of_every_mode(mode, dtype):
    image = Image.new(mode, (3, 2), 1)
    result = T.ToTensor()(image)
    assert result.shape == (1, 2, 3)
    assert str(result.dtype).endswith(dtype)
    expected = {"L": 1 / 255, "1": 1.0}.get(mode, 1)
    assert result[0, 0, 0].item() == pytest.approx(expected)


def test_to_tensor_refuses_other_things():
    with pytest.raises(TypeError, match="PIL Image or ndarray"):
        T.ToTensor()([1, 2])
    with pytest.raises(ValueError, match="2/3 dimensional"):
        T.ToTensor()(np.zeros(3))


def test_pil_round_trip(pixels):
    image = T.ToPILImage()(T.PILToTensor()(Image.fromarray(pixels)))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), pixels)
    np.testing.assert_array_equal(np.asarray(T.ToPILImage()(pixels)), pixels)


def test_to_pil_image_of_floats_and_modes():
    assert T.ToPILImage()(torch.tensor([[0.0, 0.5, 1.0]])).tobytes() == bytes([0, 127, 255])
    assert T.ToPILImage()(torch.zeros(1, 2, 2, dtype=torch.int32)).mode == "I"
    assert T.ToPILImage("F")(torch.ones(1, 2, 2)).mode == "F"
    assert T.ToPILImage("CMYK")(torch.zeros(4, 2, 2, dtype=torch.uint8)).mode == "CMYK"
    assert T.ToPILImage()(torch.zeros(2, 2, 2, dtype=torch.uint8)).mode == "LA"
    with pytest.raises(ValueError, match="Only modes"):
        T.ToPILImage("L")(torch.zeros(3, 2, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match="> 4 channels"):
        T.ToPILImage()(torch.zeros(5, 2, 2, dtype=torch.uint8))


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int16, torch.int32, torch.float32, torch.float64]
)
def test_convert_image_dtype_keeps_black_and_white(dtype):
    image = torch.tensor([0, 255], dtype=torch.uint8)
    result = F.convert_image_dtype(image, dtype)
    assert result.dtype == dtype
    back = F.convert_image_dtype(result.to(torch.float64) if dtype == torch.float32 else result)
    assert back[0].item() == 0
    assert back[1].item() == pytest.approx(1.0, abs=0.01)


def test_convert_image_dtype_uses_every_byte_equally():
    image = torch.linspace(0, 1, 2560)
    counts = F.convert_image_dtype(image, torch.uint8).to(torch.int64).bincount()
    assert counts.shape == (256,)
    assert int(counts.min()) >= 9
    with pytest.raises(RuntimeError, match="cannot be performed safely"):
        F.convert_image_dtype(image, torch.int32)


def test_normalize(pixels):
    image = T.ToTensor()(pixels)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    expected = (image.numpy() - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    before = image.clone()
    np.testing.assert_allclose(
        T.Normalize(mean, std)(image).numpy(), expected, rtol=1e-5, atol=1e-6
    )
    assert bool((image == before).all())
    assert F.normalize(image, mean, std, inplace=True) is image
    np.testing.assert_allclose(image.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_normalize_errors(pixels):
    with pytest.raises(TypeError, match="float tensor"):
        T.Normalize([0.5], [0.5])(to_tensor(pixels))
    with pytest.raises(ValueError, match="zero"):
        T.Normalize([0.5], [0.0])(torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match=r"\(\.\.\., C, H, W\)"):
        T.Normalize([0.5], [0.5])(torch.zeros(2, 2))
    with pytest.raises(TypeError, match="Tensor Image"):
        T.Normalize([0.5], [0.5])(Image.new("L", (2, 2)))


# ---- geometry


def test_flips(pixels):
    for image in both(pixels):
        np.testing.assert_array_equal(to_pixels(F.hflip(image)), pixels[:, ::-1])
        np.testing.assert_array_equal(to_pixels(F.vflip(image)), pixels[::-1])


@pytest.mark.parametrize("box", [(1, 2, 4, 5), (-2, -3, 5, 6), (6, 9, 5, 5), (20, 20, 2, 2)])
def test_crop_fills_the_outside_with_zeros(pixels, box):
    top, left, height, width = box
    room = np.pad(pixels, ((30, 30), (30, 30), (0, 0)))
    expected = room[top + 30 : top + 30 + height, left + 30 : left + 30 + width]
    for image in both(pixels):
        np.testing.assert_array_equal(to_pixels(F.crop(image, *box)), expected)


@pytest.mark.parametrize("size", [(4, 6), (5, 5), 3, (12, 20), (4, 21)])
def test_center_crop_of_tensor_and_pillow_image_agree(pixels, size):
    image, tensor = (to_pixels(T.CenterCrop(size)(image)) for image in both(pixels))
    np.testing.assert_array_equal(image, tensor)
    assert image.shape[:2] == ((size, size) if isinstance(size, int) else size)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("padding", [1, (2, 3), (1, 2, 3, 4)])
def test_pad_is_numpys(pixels, mode, padding):
    left, top, right, bottom = F.parse_padding(padding)
    widths = ((top, bottom), (left, right), (0, 0))
    expected = np.pad(pixels, widths, mode=mode)
    for image in both(pixels):
        np.testing.assert_array_equal(to_pixels(T.Pad(padding, 0, mode)(image)), expected)


def test_pad_with_a_colour(pixels):
    for image in both(pixels):
        result = to_pixels(F.pad(image, 1, fill=(1, 2, 3)))
        assert result[0, 0].tolist() == [1, 2, 3]
        np.testing.assert_array_equal(result[1:-1, 1:-1], pixels)


def test_pad_errors(pixels):
    with pytest.raises(ValueError, match="Padding mode"):
        F.pad(to_tensor(pixels), 1, padding_mode="mirror")
    with pytest.raises(ValueError, match="1, 2 or 4"):
        T.Pad((1, 2, 3))
    with pytest.raises(ValueError, match="reflect"):
        F.pad(to_tensor(pixels), 9, padding_mode="reflect")


@pytest.mark.parametrize("size", [(18, 24), (5, 7), (9, 30), 6, 20])
@pytest.mark.parametrize("mode", [BILINEAR, BICUBIC])
def test_resize_of_a_tensor_is_pillows(smooth, size, mode):
    image, tensor = (to_pixels(T.Resize(size, mode)(image)) for image in both(smooth))
    assert image.shape == tensor.shape
    assert np.abs(image.astype(int) - tensor.astype(int)).max() <= 1


def test_nearest_takes_the_pixel_before_and_nearest_exact_the_one_under_the_middle():
    row = torch.arange(8, dtype=torch.uint8).reshape(1, 1, 8)
    assert F.resize(row, [1, 3], NEAREST).tolist() == [[[0, 2, 5]]]
    assert F.resize(row, [1, 3], T.InterpolationMode.NEAREST_EXACT).tolist() == [[[1, 4, 6]]]
    assert F.resize(row, [1, 12], NEAREST).tolist() == [[[0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7]]]


def test_bilinear_without_antialiasing():
    image = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    result = F.resize(image, [4, 4], antialias=False)[0]
    expected = [0.0, 0.25, 0.75, 1.0]
    np.testing.assert_allclose(result[0].numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(result[:, 0].numpy(), [2 * v for v in expected], atol=1e-6)


def test_resize_of_a_batch_and_its_gradient():
    batch = torch.rand(2, 3, 6, 8, requires_grad=True)
    result = F.resize(batch, [3, 4])
    assert result.shape == (2, 3, 3, 4)
    result.sum().backward()
    assert batch.grad.sum().item() == pytest.approx(2 * 3 * 12, rel=1e-4)


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [(50, None, [50, 100]), ([50], None, [50, 100]), ((3, 4), None, [3, 4]), (50, 80, [40, 80])],
)
def test_size_after_a_resize(size, limit, expected):
    assert F.compute_resized_size(100, 200, size, limit) == expected
    if not isinstance(size, tuple):
        assert F.compute_resized_size(200, 100, size, limit) == expected[::-1]


def test_size_errors():
    with pytest.raises(ValueError, match="max_size"):
        F.compute_resized_size(10, 20, (3, 4), 9)
    with pytest.raises(ValueError, match="greater"):
        F.compute_resized_size(10, 20, 5, 5)


@pytest.mark.parametrize("angle", [0, 90, 180, 270, -90])
def test_rotation_by_right_angles_is_exact(angle):
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    expected = np.rot90(pixels, angle // 90)
    for image in both(pixels):
        np.testing.assert_array_equal(to_pixels(F.rotate(image, angle)), expected)


@pytest.mark.parametrize("angle", [90, 270])
def test_rotation_can_expand(pixels, angle):
    for image in both(pixels):
        result = to_pixels(F.rotate(image, angle, expand=True))
        np.testing.assert_array_equal(result, np.rot90(pixels, angle // 90))


@pytest.mark.parametrize("mode", [NEAREST, BILINEAR])
@pytest.mark.parametrize(
    ("angle", "shift", "scale", "shear"),
    [
        (0, (3, -2), 1.0, (0, 0)),
        (20, (0, 0), 1.0, (0, 0)),
        (-35, (2, 1), 1.3, (10, 5)),
        (5, (0, 0), 0.6, 8.0),
    ],
)
def test_affine_of_tensor_and_pillow_image_agree(smooth, mode, angle, shift, scale, shear):
    image, tensor = (
        to_pixels(F.affine(image, angle, shift, scale, shear, mode)).astype(int)
        for image in both(smooth)
    )
    difference = np.abs(image - tensor)[2:-2, 2:-2]
    # At the image's border Pillow mixes with nothing: the pixels there differ, the others do not.
    assert np.quantile(difference, 0.85) <= 3


def test_affine_shift_moves_right_and_down(pixels):
    for image in both(pixels):
        moved = to_pixels(F.affine(image, 0, (2, 1), 1.0, 0.0))
        np.testing.assert_array_equal(moved[1:, 2:], pixels[:-1, :-2])
        assert moved[0].max() == 0


def test_affine_with_a_colour_and_a_center(pixels):
    for image in both(pixels):
        moved = to_pixels(F.affine(image, 0, (4, 0), 1.0, 0.0, fill=(9, 8, 7)))
        assert moved[3, 0].tolist() == [9, 8, 7]
        turned = to_pixels(F.rotate(image, 180, center=(0, 0)))
        assert turned.max() == 0


# ---- colour


def test_grayscale_is_itu_601(pixels):
    expected = pixels @ np.array([0.2989, 0.587, 0.114])
    for image in both(pixels):
        gray = to_pixels(T.Grayscale()(image)).astype(float)
        assert gray.shape == (9, 12, 1)
        assert np.abs(gray[:, :, 0] - expected).max() <= 1
        three = to_pixels(T.Grayscale(3)(image))
        np.testing.assert_array_equal(three[:, :, 0], three[:, :, 2])


@pytest.mark.parametrize(
    ("function", "factor"),
    [
        (F.adjust_brightness, 0.5),
        (F.adjust_brightness, 1.7),
        (F.adjust_contrast, 0.4),
        (F.adjust_contrast, 1.6),
        (F.adjust_saturation, 0.0),
        (F.adjust_saturation, 1.8),
        (F.adjust_gamma, 0.7),
        (F.adjust_gamma, 2.2),
    ],
)
def test_adjustments_of_tensor_and_pillow_image_agree(pixels, function, factor):
    image, tensor = (to_pixels(function(image, factor)).astype(int) for image in both(pixels))
    assert np.abs(image - tensor).max() <= 2


@pytest.mark.parametrize("factor", [-0.5, -0.1, 0.25, 0.5])
def test_hue_is_that_of_colorsys(factor):
    import colorsys

    colors = np.random.default_rng(2).random((4, 5, 3))
    turned = F.adjust_hue(torch.from_numpy(colors.transpose(2, 0, 1).copy()), factor)
    for y in range(4):
        for x in range(5):
            h, s, v = colorsys.rgb_to_hsv(*colors[y, x])
            expected = colorsys.hsv_to_rgb((h + factor) % 1, s, v)
            np.testing.assert_allclose(turned[:, y, x].numpy(), expected, atol=1e-6)


def test_hue_of_a_pillow_image():
    red = Image.new("RGB", (2, 2), (255, 0, 0))
    r, g, b = F.adjust_hue(red, 1 / 3).getpixel((0, 0))
    assert g > 250
    assert r < 10
    assert b < 10


def test_adjustment_errors(pixels):
    with pytest.raises(ValueError, match="non-negative"):
        F.adjust_brightness(to_tensor(pixels), -1)
    with pytest.raises(ValueError, match="hue_factor"):
        F.adjust_hue(to_tensor(pixels), 0.6)
    with pytest.raises(TypeError, match="1 or 3 channels"):
        F.adjust_contrast(torch.zeros(2, 4, 4), 0.5)
    with pytest.raises(TypeError, match="PIL Image or Tensor"):
        F.hflip(np.zeros((2, 2)))


def test_invert(pixels):
    for image in both(pixels):
        np.testing.assert_array_equal(to_pixels(F.invert(image)), 255 - pixels)


# ---- random


def after_seed(function):
    torch.manual_seed(7)
    return function()


def test_random_crop_draws_top_then_left(pixels):
    tensor = to_tensor(pixels)
    crop = T.RandomCrop((4, 5), padding=2)

    def expect():
        top = torch.randint(0, 13 - 4 + 1, (1,)).item()
        left = torch.randint(0, 16 - 5 + 1, (1,)).item()
        return F.crop(F.pad(tensor, 2), top, left, 4, 5)

    assert bool((after_seed(lambda: crop(tensor)) == after_seed(expect)).all())


def test_random_crop_of_a_small_image(pixels):
    with pytest.raises(ValueError, match="larger than input image"):
        T.RandomCrop(10)(to_tensor(pixels))
    assert T.RandomCrop(20, pad_if_needed=True)(to_tensor(pixels)).shape == (3, 20, 20)


@pytest.mark.parametrize("kind", [T.RandomHorizontalFlip, T.RandomVerticalFlip, T.RandomGrayscale])
def test_probabilities(kind, pixels):
    image = to_tensor(pixels)
    always, never = kind(p=1.0), kind(p=0.0)
    assert not bool((always(image) == image).all())
    assert never(image) is image
    sometimes = kind(p=0.3)
    changed = sum(sometimes(image) is not image for _ in range(300))
    assert 60 < changed < 120


def test_random_rotation_draws_the_angle(pixels):
    tensor = to_tensor(pixels)

    def expect():
        return F.rotate(tensor, torch.empty(1).uniform_(-30.0, 30.0).item(), fill=0)

    result = after_seed(lambda: T.RandomRotation(30)(tensor))
    assert bool((result == after_seed(expect)).all())


def test_random_affine_draws_in_order():
    size = (32, 24)

    def expect():
        angle = torch.empty(1).uniform_(-10.0, 10.0).item()
        x = round(torch.empty(1).uniform_(-3.2, 3.2).item())
        y = round(torch.empty(1).uniform_(-4.8, 4.8).item())
        scale = torch.empty(1).uniform_(0.8, 1.2).item()
        shear = torch.empty(1).uniform_(-5.0, 5.0).item()
        return angle, (x, y), scale, (shear, 0.0)

    affine = T.RandomAffine(10, (0.1, 0.2), (0.8, 1.2), 5)
    ranges = (affine.degrees, affine.translate, affine.scale, affine.shear)
    assert after_seed(lambda: affine.get_params(*ranges, size)) == after_seed(expect)


def test_color_jitter_draws_order_then_factors(pixels):
    tensor = to_tensor(pixels)
    jitter = T.ColorJitter(0.4, (0.5, 1.5), 0.2, 0.1)

    def expect():
        order = torch.randperm(4).tolist()
        ranges = [(0.6, 1.4), (0.5, 1.5), (0.8, 1.2), (-0.1, 0.1)]
        factors = [torch.empty(1).uniform_(*r).item() for r in ranges]
        functions = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
        image = tensor
        for place in order:
            image = functions[place](image, factors[place])
        return image

    assert bool((after_seed(lambda: jitter(tensor)) == after_seed(expect)).all())
    assert T.ColorJitter(hue=0).hue is None
    with pytest.raises(ValueError, match="hue"):
        T.ColorJitter(hue=0.7)


def test_random_erasing(pixels):
    image = torch.rand(3, 20, 30)
    erased = T.RandomErasing(p=1.0, value=(5, 6, 7))(image)
    changed = (erased != image).any(dim=0)
    area = int(changed.sum()) / 600
    assert 0.01 < area < 0.4
    rows, columns = changed.any(dim=1), changed.any(dim=0)
    assert int(rows.sum()) * int(columns.sum()) == int(changed.sum())  # a rectangle
    assert erased[:, changed][:, 0].tolist() == [5, 6, 7]
    assert bool((T.RandomErasing(p=0.0)(image) == image).all())
    assert T.RandomErasing(p=1.0, value="random", inplace=True)(image) is image


def test_random_resized_crop_stays_inside():
    image = torch.rand(3, 40, 30)
    for _ in range(20):
        top, left, height, width = T.RandomResizedCrop.get_params(image, (0.1, 0.9), (0.75, 4 / 3))
        assert 0 <= top <= 40 - height
        assert 0 <= left <= 30 - width
        assert 0.08 < height * width / 1200 < 0.95
        assert 0.6 < width / height < 1.6
    assert T.RandomResizedCrop(8)(image).shape == (3, 8, 8)


def test_random_apply_choice_and_order():
    add, double = T.Lambda(lambda x: x + 1), T.Lambda(lambda x: x * 2)
    assert T.RandomApply([add, double], p=1.0)(1) == 4
    assert T.RandomApply([add, double], p=0.0)(1) == 1
    assert {T.RandomChoice([add, double])(5) for _ in range(50)} == {6, 10}
    assert {T.RandomOrder([add, double])(5) for _ in range(50)} == {11, 12}


def test_reprs():
    composed = T.Compose([T.ToTensor(), T.Normalize((0.5,), (0.25,))])
    assert repr(composed) == "Compose(\n    ToTensor()\n    Normalize(mean=(0.5,), std=(0.25,))\n)"
    assert repr(T.RandomCrop(4, padding=1)) == "RandomCrop(size=(4, 4), padding=1)"
    assert repr(T.RandomRotation(30)).startswith("RandomRotation(degrees=[-30.0, 30.0]")
    assert repr(T.RandomHorizontalFlip()) == "RandomHorizontalFlip(p=0.5)"


def test_transforms_work_in_sequential(pixels):
    chain = torch.nn.Sequential(T.CenterCrop(6), T.ConvertImageDtype(torch.float32))
    assert chain(to_tensor(pixels)).shape == (3, 6, 6)


def test_lambda_wants_a_function():
    with pytest.raises(TypeError, match="callable"):
        T.Lambda(3)


def test_rotated_size_is_not_enlarged_by_rounding():
    tensor = torch.zeros(1, 10, 20)
    assert F.rotate(tensor, 180, expand=True).shape == (1, 10, 20)
    height, width = F.rotate(tensor, 45, expand=True).shape[1:]
    assert abs(height - 30 / math.sqrt(2)) <= 2
    assert abs(width - 30 / math.sqrt(2)) <= 2
