"""Data sets: what each loader makes of files that are right, and says of files that are wrong."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from archlang.data import Dataset, from_arrays, load_data, resized, stratified
from archlang.errors import ArchError, OutsideError

RNG = np.random.default_rng(0)
X_TRAIN = RNG.integers(0, 256, (12, 5, 4), np.uint8)
Y_TRAIN = np.arange(12) % 3
X_TEST = RNG.integers(0, 256, (6, 5, 4), np.uint8)
Y_TEST = np.arange(6) % 3


def arrays(**changed: Any) -> dict[str, Any]:
    return {"x_train": X_TRAIN, "y_train": Y_TRAIN, "x_test": X_TEST, "y_test": Y_TEST, **changed}


def check_is_ours(data: Dataset) -> None:
    assert data.classes == 3
    assert data.shape == (1, 5, 4)
    assert data.x_train.dtype == data.x_test.dtype == np.float32
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    np.testing.assert_allclose(data.x_train[:, 0], X_TRAIN / 255, rtol=1e-6)
    np.testing.assert_allclose(data.x_test[:, 0], X_TEST / 255, rtol=1e-6)
    assert (data.y_train.tolist(), data.y_test.tolist()) == (Y_TRAIN.tolist(), Y_TEST.tolist())


def refused(spec: str, code: str, *words: str) -> None:
    with pytest.raises(ArchError) as caught:
        load_data(spec)
    diagnostic = caught.value.diagnostics[0]
    assert diagnostic.code == code
    for word in words:
        assert word in diagnostic.message + diagnostic.help


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    data = load_data("digits")
    assert (data.shape, data.classes) == ((1, 8, 8), 10)
    assert len(data.y_train) + len(data.y_test) == 1797
    rows = {image.tobytes() for image in (load_digits().images / 16).astype(np.float32)}
    assert {image.tobytes() for image in data.x_train[:, 0]} | {i.tobytes() for i in data.x_test[:, 0]} == rows
    assert (load_data("digits").y_train == data.y_train).all()
    shares = np.bincount(data.y_test) / np.bincount(np.concatenate([data.y_train, data.y_test]))
    assert (abs(shares - 0.2) < 0.01).all()


def test_a_split_takes_a_share_of_each_class_and_nothing_twice() -> None:
    labels = np.array([0] * 10 + [1] * 4 + [2])
    rest, held = stratified(labels, 0.3, 0)
    assert sorted([*rest, *held]) == list(range(15))
    assert np.bincount(labels[held]).tolist() == [3, 1, 1]
    assert (stratified(labels, 0.3, 0)[1] == held).all()
    assert (stratified(labels, 0.3, 1)[1] != held).any()


def test_held_out_images_come_from_the_training_ones() -> None:
    data = load_data("digits")
    part = data.held_out()
    assert len(part.y_train) + len(part.y_test) == len(data.y_train)
    train = {image.tobytes() for image in data.x_train}
    assert {image.tobytes() for image in part.x_test} <= train
    assert not {image.tobytes() for image in part.x_test} & {image.tobytes() for image in part.x_train}


# Sizes


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (5, 13), (3, 2), (1, 1), (8, 20)])
def test_resizing_is_pytorchs_antialiased_bilinear(size: tuple[int, int]) -> None:
    import torch

    x = RNG.random((2, 3, 8, 10), dtype=np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(x), size, mode="bilinear", antialias=True)
    np.testing.assert_allclose(resized(x, *size), expected.numpy(), atol=1e-6)


def test_fitting_repeats_grey_over_the_channels_and_resizes() -> None:
    data = from_arrays("a", arrays()).fitted((3, 10, 8))
    assert data.shape == (3, 10, 8)
    assert data.x_test.shape == (6, 3, 10, 8)
    assert (data.x_train[:, 0] == data.x_train[:, 2]).all()
    assert data.fitted((3, 10, 8)) is data


def test_fitting_turns_colour_to_grey_by_luma() -> None:
    colour = np.zeros((12, 3, 2, 2), np.float32)
    colour[:, 1] = 1.0
    data = from_arrays("a", arrays(x_train=colour, x_test=colour[:6])).fitted((1, 2, 2))
    np.testing.assert_allclose(data.x_train, 0.587)


@pytest.mark.parametrize("shape", [(4, 5, 4), (20,), (5, 4)])
def test_what_cannot_be_fitted(shape: tuple[int, ...]) -> None:
    colour = RNG.random((12, 3, 5, 4))
    with pytest.raises(ArchError, match="E0905"):
        from_arrays("a", arrays(x_train=colour, x_test=colour[:6])).fitted(shape)


# npz


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    check_is_ours(load_data(f"npz:{tmp_path / 'a.npz'}"))


def test_channels_last_images_are_turned(tmp_path: Path) -> None:
    colour = RNG.integers(0, 256, (12, 5, 4, 3), np.uint8)
    np.savez(tmp_path / "a.npz", **arrays(x_train=colour, x_test=colour[:6]))
    data = load_data(f"npz:{tmp_path / 'a.npz'}")
    np.testing.assert_allclose(data.x_train, colour.transpose(0, 3, 1, 2) / 255, rtol=1e-6)


def test_floats_stay_as_they_are_and_labels_may_be_a_column() -> None:
    x = RNG.normal(size=(12, 2, 5, 4))
    data = from_arrays("a", arrays(x_train=x, x_test=x[:6], y_train=Y_TRAIN[:, None].astype(np.float64)))
    np.testing.assert_allclose(data.x_train, x.astype(np.float32))
    assert data.y_train.tolist() == Y_TRAIN.tolist()


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"y_test": Y_TEST[:5]}, "E0903", "`x_test` holds 6 images, but `y_test` 5 labels"),
        ({"x_train": X_TRAIN.reshape(12, 20)}, "E0903", "`x_train` has shape (12, 20)"),
        ({"x_test": X_TEST[:, :3]}, "E0903", "differ in shape"),
        ({"y_train": Y_TRAIN + 0.5}, "E0904", "`y_train` holds labels that are not whole"),
        ({"y_train": Y_TRAIN - 1}, "E0904", "whole numbers from 0"),
        ({"y_train": np.eye(12)}, "E0903", "`y_train` has shape (12, 12)"),
        ({"x_train": np.full((12, 5, 4), np.nan)}, "E0904", "not finite"),
        ({"x_train": np.array(["a"] * 12)}, "E0903", "`x_train`"),
        ({"x_train": X_TRAIN[:0], "y_train": Y_TRAIN[:0]}, "E0903", "`x_train` has shape (0,"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, changed: dict[str, Any], code: str, words: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays(**changed))
    refused(f"npz:{tmp_path / 'a.npz'}", code, words)


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=X_TRAIN, labels=Y_TRAIN)
    refused(f"npz:{tmp_path / 'a.npz'}", "E0902", "`y_train`", "labels")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}] * 12, dtype=object)
    np.savez(tmp_path / "a.npz", **arrays(x_train=objects))
    refused(f"npz:{tmp_path / 'a.npz'}", "E0902", "pickle")


@pytest.mark.parametrize("cut", [0, 10, 200, 700])
def test_a_damaged_npz(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays())
    path.write_bytes(path.read_bytes()[:cut])
    refused(f"npz:{path}", "E0902", str(path))


def test_an_npz_whose_bytes_were_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays())
    content = bytearray(path.read_bytes())
    content[150:170] = bytes(20)
    path.write_bytes(content)
    refused(f"npz:{path}", "E0902", str(path))


def test_an_npy_is_no_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X_TRAIN)
    refused(f"npz:{tmp_path / 'a.npy'}", "E0902", "not a whole .npz file")


# idx


def idx(values: NDArray[np.uint8]) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


FILES = {
    "train-images-idx3-ubyte": X_TRAIN,
    "train-labels-idx1-ubyte": Y_TRAIN.astype(np.uint8),
    "t10k-images-idx3-ubyte": X_TEST,
    "t10k-labels-idx1-ubyte": Y_TEST.astype(np.uint8),
}


def write_idx(folder: Path, pack: Callable[[bytes], bytes] = bytes, suffix: str = "") -> str:
    for name, values in FILES.items():
        (folder / f"{name}{suffix}").write_bytes(pack(idx(values)))
    return f"idx:{folder}"


def test_idx_plain_and_gzipped(tmp_path: Path) -> None:
    check_is_ours(load_data(write_idx(tmp_path)))
    (tmp_path / "gz").mkdir()
    check_is_ours(load_data(write_idx(tmp_path / "gz", gzip.compress, ".gz")))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x0d\x03" + bytes(80), "not an IDX file of bytes"),
        (b"\0\0\x08\x03\0\0", "ends within its header"),
        (idx(X_TRAIN)[:-1], "holds 239 values, but its header says 240"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + bytes(9), "holds 9 values, but its header says"),
    ],
)
def test_a_damaged_idx_file(tmp_path: Path, content: bytes, words: str) -> None:
    spec = write_idx(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    refused(spec, "E0902", words, "train-images")


@pytest.mark.parametrize(
    "content", [b"not gzip", gzip.compress(idx(X_TRAIN), mtime=0)[:-20], gzip.compress(b"x" * 99, mtime=0)[:15]]
)
def test_a_damaged_gzip_file(tmp_path: Path, content: bytes) -> None:
    spec = write_idx(tmp_path, gzip.compress, ".gz")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    refused(spec, "E0902", "train-images")


def test_a_missing_idx_file(tmp_path: Path) -> None:
    spec = write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    refused(spec, "E0902", "*t10k-labels*")


# folders


def write_folder(folder: Path, val: str = "val") -> str:
    image = pytest.importorskip("PIL.Image")
    for part, x, y in (("train", X_TRAIN, Y_TRAIN), (val, X_TEST, Y_TEST)):
        for i, (pixels, label) in enumerate(zip(x, y, strict=True)):
            path = folder / part / f"class{label}" / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(pixels).save(path)
    return f"folder:{folder}"


@pytest.mark.parametrize("val", ["val", "test"])
def test_folders_of_images(tmp_path: Path, val: str) -> None:
    data = load_data(write_folder(tmp_path, val))
    assert (data.shape, data.classes) == ((3, 5, 4), 3)
    order = np.argsort(Y_TRAIN, kind="stable")
    np.testing.assert_allclose(data.x_train[:, 1], X_TRAIN[order] / 255, rtol=1e-6)
    assert data.y_train.tolist() == sorted(Y_TRAIN.tolist())
    assert data.y_test.tolist() == sorted(Y_TEST.tolist())


def test_images_of_different_sizes_need_a_size(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    spec = write_folder(tmp_path)
    image.fromarray(X_TRAIN[0].repeat(3, 0)).save(tmp_path / "train" / "class0" / "large.png")
    refused(spec, "E0902", "large.png")
    assert load_data(spec, (1, 4, 4)).shape == (1, 4, 4)


def test_what_is_wrong_with_a_folder(tmp_path: Path) -> None:
    refused(f"folder:{tmp_path / 'none'}", "E0902", "there is no folder")
    refused(f"folder:{tmp_path}", "E0902", "train/CLASS/*.png")
    spec = write_folder(tmp_path)
    (tmp_path / "train" / "class1" / "zz.png").write_bytes(b"not an image")
    refused(spec, "E0902", "zz.png")
    (tmp_path / "train" / "class1" / "zz.png").unlink()
    (tmp_path / "val" / "class9").mkdir()
    refused(spec, "E0902", "class9")


def test_without_pillow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write_folder(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(OutsideError, match="pip install pillow"):
        load_data(spec)


# functions


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_own_data.py").write_text(
        "import numpy as np\n"
        "x, y = np.zeros((4, 5, 4), np.uint8), np.arange(4) % 3\n"
        "def four(): return x, y, x, y\n"
        "def mapping(): return {'x_train': x, 'y_train': y, 'x_test': x, 'y_test': y}\n"
        "def three(): return x, y, x\n"
        "def failing(): raise RuntimeError('no disk')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return "my_own_data"


def test_a_function_of_ones_own(module: str) -> None:
    assert load_data(f"{module}:four").shape == (1, 5, 4)
    assert load_data(f"{module}:mapping").classes == 3


@pytest.mark.parametrize(
    ("function", "code", "words"),
    [("three", "E0902", "tuple"), ("failing", "E0907", "RuntimeError: no disk"), ("absent", "E0901", "absent")],
)
def test_a_function_that_is_wrong(module: str, function: str, code: str, words: str) -> None:
    refused(f"{module}:{function}", code, words)


def test_a_file_cannot_ask_for_code(module: str) -> None:
    with pytest.raises(ArchError, match="E0906"):
        load_data(f"{module}:four", trusted=False)


@pytest.mark.parametrize("spec", ["digit", "npz", "", "what is this", "C:\\data", "os;x:y", "no_such_module:f"])
def test_an_unknown_data_set(spec: str) -> None:
    refused(spec, "E0901")


def test_a_near_name_is_suggested() -> None:
    refused("digit", "E0901", "did you mean `digits`")
    refused("npz:none.npz", "E0902", "there is no file none.npz")
