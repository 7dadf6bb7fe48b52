"""Generated Fourier transforms against NumPy's in double precision: lengths, layouts, threads."""

import numpy as np
import pytest

import flambeau as torch
from flambeau.ops import fourier_lengths, fourier_plan
from flambeau.ops.fourier_lengths import COMPLEX

BOUND = {"float32": 3e-7, "float64": 6e-16}  # of the root mean square error, by 1 + log2(n) / 8


def numbers(shape, dtype, seed=0):
    random = np.random.default_rng(seed)
    made = random.standard_normal(shape)
    if dtype.startswith("complex"):
        made = made + 1j * random.standard_normal(shape)
    return made.astype(dtype)


def close(got, expected, n):
    """The relative error of the whole is a few roundings, growing with log n."""
    got = got.numpy()
    assert got.shape == expected.shape
    single = got.dtype in (np.complex64, np.float32)
    size = np.linalg.norm(expected)
    error = np.linalg.norm(got - expected)
    bound = BOUND["float32" if single else "float64"] * (1 + np.log2(n) / 8)
    assert error <= bound * size + 1e-300, error / size


def both_ways(lines, n, dtype):
    x = numbers((lines, n), f"complex{128 if dtype == 'float64' else 64}", n)
    wide = x.astype(np.complex128)
    t = torch.from_numpy(x)
    close(torch.fft.fft(t), np.fft.fft(wide), n)
    close(torch.fft.ifft(t), np.fft.ifft(wide), n)


def real_both_ways(lines, n, dtype):
    x = numbers((lines, n), dtype, n)
    wide = x.astype(np.float64)
    close(torch.fft.rfft(torch.from_numpy(x)), np.fft.rfft(wide), n)
    half = numbers((lines, n // 2 + 1), f"complex{128 if dtype == 'float64' else 64}", n)
    wide = half.astype(np.complex128)
    close(torch.fft.irfft(torch.from_numpy(half), n), np.fft.irfft(wide, n), n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("start", range(1, 300, 50))
def test_every_short_length(start, dtype):
    for n in range(start, start + 50):
        both_ways(3, n, dtype)
        real_both_ways(3, n, dtype)


LONG = [509, 512, 997, 1000, 1009, 1024, 2187, 4096, 5040, 7919, 10007, 2 * 10007]
LONG += [1 << 16, 3 << 15, 65537, 100000, 1 << 18]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", LONG)
def test_long_lengths(n, dtype):
    for lines in (1, 5):
        both_ways(lines, n, dtype)
        real_both_ways(lines, n, dtype)


@pytest.mark.parametrize("n", [6, 8, 100, 97, 512, 1024])
def test_numbers_of_lines_around_a_vector(n):
    for lines in (1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 70):
        both_ways(lines, n, "float32")
        real_both_ways(lines, n, "float32")


@pytest.mark.parametrize("kind", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
@pytest.mark.parametrize("shape", [(5, 12, 3), (2, 64, 40), (3, 9, 17), (2, 300, 1), (1, 2, 20)])
def test_any_dimension_with_padding_and_cutting(kind, shape):
    x = numbers(shape, "float64" if kind in ("rfft", "ihfft") else "complex128")
    t = torch.from_numpy(x)
    for dim in range(3):
        for n in (None, 1, 2, 7, 8, 40, 101, 1200):
            if n is None and kind in ("irfft", "hfft") and shape[dim] == 1:
                continue
            expected = getattr(np.fft, kind)(x, n, dim)
            close(getattr(torch.fft, kind)(t, n, dim), expected, 1 << 10)


@pytest.mark.parametrize("kind", ["fft", "ifft", "rfft", "irfft"])
def test_layouts(kind):
    """Transposed, cut, repeated and reversed inputs."""
    x = numbers((6, 20, 18), "float64" if kind == "rfft" else "complex128")
    t = torch.from_numpy(x)
    layouts = [
        (t.transpose(0, 2), x.transpose(2, 1, 0)),
        (t[:, 3:17], x[:, 3:17]),
        (t[..., 1:11], x[..., 1:11]),
        (t[::2, :, ::3], x[::2, :, ::3]),
        (t[:1].expand(4, 20, 18), np.broadcast_to(x[:1], (4, 20, 18))),
        (t.unfold(1, 8, 2), np.lib.stride_tricks.sliding_window_view(x, 8, 1)[:, ::2]),
    ]
    for view, expected in layouts:
        for dim in range(view.dim()):
            got = getattr(torch.fft, kind)(view, dim=dim)
            close(got, getattr(np.fft, kind)(expected, axis=dim), 64)


def test_several_dimensions():
    x = numbers((4, 30, 20), "complex64")
    for dims in ((0, 1), (1, 2), (2, 0), (0, 1, 2)):
        for name in ("fftn", "ifftn"):
            expected = getattr(np.fft, name)(x.astype(np.complex128), axes=dims)
            close(getattr(torch.fft, name)(torch.from_numpy(x), dim=dims), expected, 600)


def test_empty_batches():
    for dtype in (torch.complex64, torch.complex128):
        assert torch.fft.fft(torch.empty(0, 8, dtype=dtype)).shape == (0, 8)
        assert torch.fft.irfft(torch.empty(0, 5, dtype=dtype)).shape == (0, 8)
        assert torch.fft.fft(torch.empty(4, 0, dtype=dtype), 6).eq(0).all()
    assert torch.fft.rfft(torch.empty(3, 0, 8)).shape == (3, 0, 5)


@pytest.mark.parametrize("n", [8, 30, 97, 1024])
def test_a_bad_line_spoils_no_other(n):
    """Lines share vectors, but never their numbers: neither NaN nor large ones."""
    for dtype in ("complex64", "float32"):
        x = numbers((20, n), dtype)
        x[3] = np.nan
        x[5] = np.inf
        x[7] *= 1e20
        transform = torch.fft.fft if dtype == "complex64" else torch.fft.rfft
        got = transform(torch.from_numpy(x)).numpy()
        assert np.isnan(got[3]).all()
        assert not np.isfinite(got[5]).any()
        for k in (2, 4, 6, 8, 19):
            alone = transform(torch.from_numpy(x[k])).numpy()
            np.testing.assert_allclose(got[k], alone, rtol=1e-4, atol=1e-4)


def test_the_imaginary_parts_of_the_ends_are_ignored():
    half = numbers((2, 9), "complex128")
    clean = half.copy()
    clean[:, [0, -1]] = clean[:, [0, -1]].real
    half.imag[:, 0], half.imag[:, -1] = np.nan, np.inf
    close(torch.fft.irfft(torch.from_numpy(half)), np.fft.irfft(clean), 16)
    turned = torch.from_numpy(np.ascontiguousarray(half.T))
    close(torch.fft.irfft(turned, dim=0), np.fft.irfft(clean.T, axis=0), 16)
    close(torch.fft.irfft(torch.from_numpy(half), 9), np.fft.irfft(clean[:, :5], 9), 9)


def test_a_constant_and_a_wave_of_whole_quarters_are_exact():
    for repeats in (1, 4, 64):
        x = torch.tensor([1, 1j, -1, -1j] * repeats, dtype=torch.complex64)
        expected = torch.zeros(4 * repeats, dtype=torch.complex64)
        expected[repeats] = 4 * repeats
        assert torch.equal(torch.fft.fft(x), expected)


@pytest.mark.parametrize("shape", [(64, 1024), (700, 30), (1, 1 << 16), (3, 1009), (40, 97)])
def test_the_number_of_threads_does_not_matter(shape):
    for dtype, kind in (("complex64", "fft"), ("float32", "rfft"), ("complex64", "irfft")):
        x = torch.from_numpy(numbers(shape, dtype))
        threads = torch.get_num_threads()
        results = []
        try:
            for n in (1, 2, 3, 2):
                torch.set_num_threads(n)
                results.append(getattr(torch.fft, kind)(x))
        finally:
            torch.set_num_threads(threads)
        assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("n", [12, 60, 1024, 1009])
def test_plain_calls_and_recorded_ones_agree(n):
    x = torch.from_numpy(numbers((4, n), "complex64"))
    for name in ("fft", "ifft", "irfft", "hfft"):
        run = getattr(torch.fft, name)
        assert torch.equal(run(x), run(x.clone().requires_grad_()).detach())
    for name in ("rfft", "ihfft"):
        run = getattr(torch.fft, name)
        assert torch.equal(run(x.real), run(x.real.clone().requires_grad_()).detach())


def test_radices_multiply_to_the_length():
    for n in range(1, 2000):
        found = fourier_lengths.radices(n)
        if found is not None:
            assert np.prod(found[1], dtype=int) == n
    assert fourier_lengths.radices(1009) is None
    assert not fourier_plan.can_plan(COMPLEX, 2 * 1009, "f32")
    assert fourier_plan.can_plan(COMPLEX, 1 << 24, "f32")


@pytest.mark.parametrize("kind", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
def test_plain_calls_over_several_dimensions(kind):
    """Against one dimension after the other, for every way to name the dimensions."""
    real = kind in ("rfft", "ihfft")
    x = torch.from_numpy(numbers((3, 6, 10), "float64" if real else "complex128"))
    one = getattr(torch.fft, kind)
    rest = torch.fft.fft if kind in ("fft", "rfft", "hfft") else torch.fft.ifft

    def expected(dims):
        y = x
        if kind in ("irfft", "hfft"):
            for d in dims[:-1]:
                y = rest(y, dim=d)
            return one(y, dim=dims[-1])
        y = one(x, dim=dims[-1])
        for d in dims[:-1]:
            y = rest(y, dim=d)
        return y

    two, many = getattr(torch.fft, kind + "2"), getattr(torch.fft, kind + "n")
    close(two(x), expected((1, 2)).numpy(), 64)
    close(two(x, None, (0, 2)), expected((0, 2)).numpy(), 64)
    close(many(x), expected((0, 1, 2)).numpy(), 64)
    close(many(x, dim=[-1, 0]), expected((2, 0)).numpy(), 64)
    close(many(x, dim=(1,), norm="ortho"), one(x, dim=1, norm="ortho").numpy(), 64)
    before = x.clone()
    two(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_real_numbers_become_complex_ones(dtype):
    x = numbers((4, 12, 10), dtype)
    wide = x.astype(np.float64)
    t = torch.from_numpy(x)
    close(torch.fft.fft(t), np.fft.fft(wide), 16)
    close(torch.fft.fft(t[:, ::2], 7, 1), np.fft.fft(wide[:, ::2], 7, 1), 16)
    close(torch.fft.ifft(t, dim=0), np.fft.ifft(wide, axis=0), 16)
    close(torch.fft.fft2(t), np.fft.fft2(wide), 128)
    close(torch.fft.irfft(t), np.fft.irfft(wide), 32)
    assert np.array_equal(t.numpy(), x)
