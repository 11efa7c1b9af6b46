"""Pictures are read as they should look, and every fault is one line that names the file."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynaip.errors import InputError
from dynaip.images import FORMATS, load_image
from dynaip.notes import Note

LOSSLESS = ("PNG", "BMP", "TIFF")


def picture(width: int = 12, height: int = 8) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def written(folder: Path, data: bytes, name: str = "picture.bin") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing: the decompression bomb's first bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def refused(path: Path | str, **options: int) -> str:
    with pytest.raises(InputError) as caught:
        load_image(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("form", LOSSLESS)
def test_lossless_formats_keep_every_pixel(form: str, tmp_path: Path) -> None:
    loaded = load_image(written(tmp_path, encoded(picture(), form)))
    assert loaded.mode == "RGB"
    assert np.array_equal(np.asarray(loaded), np.asarray(picture()))


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in LOSSLESS])
def test_lossy_formats_are_read(form: str, tmp_path: Path) -> None:
    loaded = load_image(written(tmp_path, encoded(Image.new("RGB", (12, 8), (200, 40, 90)), form)))
    assert (loaded.mode, loaded.size) == ("RGB", (12, 8))
    assert np.abs(np.asarray(loaded, dtype=int) - (200, 40, 90)).max() <= 8


def test_the_name_does_not_decide_the_format(tmp_path: Path) -> None:
    assert load_image(written(tmp_path, encoded(picture(), "PNG"), "photo.jpg")).size == (12, 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int, tmp_path: Path) -> None:
    upright = np.asarray(picture())
    # What a camera stores for each orientation, so that the viewer's turn gives the upright picture back.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(np.asarray(load_image(written(tmp_path, data))), upright)


def test_transparency_is_composed_on_white(tmp_path: Path) -> None:
    layer = np.zeros((1, 3, 4), dtype=np.uint8)
    layer[0, :, 0], layer[0, :, 3] = 200, (0, 51, 255)  # red at 0 %, 20 %, 100 %
    with pytest.warns(Note, match="has transparent parts: they are put on white"):
        loaded = np.asarray(load_image(written(tmp_path, encoded(Image.fromarray(layer), "PNG"))), dtype=int)
    expected = [[255, 255, 255], [244, 204, 204], [200, 0, 0]]
    assert np.abs(loaded[0] - expected).max() <= 1


def test_a_transparent_palette_colour_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    with pytest.warns(Note, match="transparent"):
        loaded = load_image(written(tmp_path, encoded(image, "PNG", transparency=0)))
    assert [loaded.getpixel((0, 0)), loaded.getpixel((1, 0))] == [(255, 255, 255), (40, 50, 60)]


def test_sixteen_bits_of_grey_keep_their_range(tmp_path: Path) -> None:
    grey = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    loaded = np.asarray(load_image(written(tmp_path, encoded(Image.fromarray(grey), "PNG"))))
    assert loaded[0, :, 0].tolist() == [0, 100, 255]


def test_thirty_two_bits_are_read_as_floats_or_refused(tmp_path: Path) -> None:
    ramp = np.array([[0, 0.2, 1]], dtype=np.float32)
    loaded = load_image(written(tmp_path, encoded(Image.fromarray(ramp), "TIFF")))
    assert np.asarray(loaded)[0, :, 0].tolist() == [0, 51, 255]
    message = refused(written(tmp_path, encoded(Image.fromarray(ramp * 255), "TIFF")))
    assert "floats must lie within 0 and 1; these go from 0 to 255" in message


def test_several_frames_are_told(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    path = written(tmp_path, encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
    with pytest.warns(Note, match="has 3 frames: frame 1 alone is read"):
        assert load_image(path).getpixel((0, 0)) == (255, 0, 0)


def test_a_missing_picture_comes_with_the_nearest_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, encoded(picture(), "PNG"), "corgi.png")
    assert (
        refused(tmp_path / "Corgi.png") == f"{tmp_path / 'Corgi.png'}: there is no such picture. Did you mean {path}?"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_image("~/corgi.png").size == (12, 8)
    (tmp_path / "link.png").symlink_to("corgi.png")
    assert load_image(tmp_path / "link.png").size == (12, 8)


def test_what_is_no_picture_file_is_named(tmp_path: Path) -> None:
    assert "no such picture" in refused(tmp_path / "nothing.png")
    assert "no such picture" in refused("a" * 5000)
    assert "no such picture" in refused("null\0byte")
    assert "download it first" in refused("https://example.org/a.png")
    assert "is a folder" in refused(tmp_path)
    assert "is no file" in refused("/dev/null")
    assert "is empty" in refused(written(tmp_path, b"", "empty.png"))


@pytest.mark.parametrize(
    "data", [b"hello, world", bytes(2000), b"%PDF-1.7 ...", b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_other_files_are_no_pictures(data: bytes, tmp_path: Path) -> None:
    assert "is no picture" in refused(written(tmp_path, data, "picture.png"))


@pytest.mark.parametrize("form", ["ICO", "PPM", "TGA", "PDF"])
def test_formats_off_the_list_are_refused(form: str, tmp_path: Path) -> None:
    assert "is no picture" in refused(written(tmp_path, encoded(picture(), form)))


def test_the_cap_is_checked_on_the_header_alone(tmp_path: Path) -> None:
    bomb = written(tmp_path, png_header(8001, 8000))
    assert "8001 x 8000 pixels: scale it below 64 megapixels" in refused(bomb)
    assert "too large" in refused(written(tmp_path, png_header(60_000, 60_000)))
    assert "damaged" in refused(written(tmp_path, png_header(8000, 8000)))  # within the cap, so it was decoded


def test_the_cap_can_be_set(tmp_path: Path) -> None:
    path = written(tmp_path, encoded(picture(12, 8), "PNG"))
    assert load_image(path, max_pixels=96).size == (12, 8)
    assert "12 x 8 pixels" in refused(path, max_pixels=95)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_a_truncated_picture_is_refused(form: str, tmp_path: Path) -> None:
    data = encoded(picture(64, 64), form)
    message = refused(written(tmp_path, data[: len(data) // 2], "half.bin"))
    assert "half.bin" in message


@pytest.mark.parametrize("form", FORMATS)
def test_flipped_bytes_give_a_picture_or_a_plain_error(form: str, tmp_path: Path) -> None:
    data, chance = encoded(picture(), form), np.random.default_rng(1)
    for _ in range(15):
        broken = np.frombuffer(data, dtype=np.uint8).copy()
        places = chance.integers(0, min(len(broken), 120), 4)
        broken[places] = chance.integers(0, 256, 4)
        path = written(tmp_path, broken.tobytes())
        # A cap of its own keeps a flipped size from costing seconds.
        with contextlib.suppress(InputError):
            assert load_image(path, max_pixels=100_000).mode == "RGB"
