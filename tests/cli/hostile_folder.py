"""Writes a folder as it comes out of the field: everything that a run must live with.

python -m tests.cli.hostile_folder FOLDER
"""

import io
import json
import os
import pathlib
import struct
import sys
import zlib

import numpy as np
from PIL import Image, features

from context_rcnn.data.images import FORMATS
from context_rcnn.runners.engine.files import name_of

LONG = "n" * 200
START = "2024:05:01 06:00:00"
HOSTILE_NAMES = (
    "two words.jpg",
    "Überwald Fuchs.jpg",
    "fox 🦊.jpg",
    "quotes \"and' more.jpg",
    "<img onerror=alert(1) src=x>.jpg",
    "-rf.jpg",
    "=1+1.jpg",
    f"{LONG}.jpg",
    "line\nbreak.jpg",
    "{{ 7*7 }}.jpg",
    "a%20b & c;d.jpg",
)


def picture(number=0, size=(96, 64)):
    """A scene of its own for each number."""
    noise = np.random.default_rng(number).integers(40, 215, (8, 12, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def jpeg(number=0, date=None, **exif_fields):
    exif = Image.Exif()
    ifd = exif.get_ifd(0x8769)
    if date:
        ifd[0x9003] = date
    ifd.update(exif_fields.get("ifd", {}))
    if "orientation" in exif_fields:
        exif[0x0112] = exif_fields["orientation"]
    return saved(picture(number), "JPEG", exif=exif)


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb():
    """A PNG that says it has 10,000 megapixels."""
    data = bytearray(saved(Image.new("L", (8, 8)), "PNG"))
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def damaged(**options):
    """A JPEG with other bytes in the middle of its data; libjpeg would say so on stderr."""
    data = saved(picture(75, (640, 480)), "JPEG", **options)
    middle = len(data) // 2 if options else len(data) * 2 // 3  # where libjpeg notices it
    return data[:middle] + bytes(range(40, 80)) + data[middle + 40 :]


def files():
    """Content by path."""
    found = {}
    for i in range(6):
        found[f"north/100RECNX/IMG_{i:04}.JPG"] = jpeg(i, f"2024:05:01 06:0{i}:00")
        found[f"north/101RECNX/IMG_{i:04}.JPG"] = jpeg(10 + i, f"2024:05:02 07:0{i}:00")
        found[f"site 2/Süd/IMG_{i:04}.JPG"] = jpeg(20 + i, f"2024:05:01 08:0{i}:00")
    for i, name in enumerate(HOSTILE_NAMES):
        found[f"names/{name}"] = jpeg(30 + i, START)
    found |= {
        "clocks/1970.jpg": jpeg(50, "1970:01:01 00:00:10"),
        "clocks/2099.jpg": jpeg(51, "2099:01:01 00:00:00"),
        "clocks/none.jpg": jpeg(52),
        "clocks/words.jpg": jpeg(53, "yesterday"),
        "clocks/subsecond.jpg": jpeg(54, START, ifd={0x9291: "37", 0x9011: "+02:00"}),
        "kinds/a.png": saved(picture(60), "PNG"),
        "kinds/a.webp": saved(picture(61), "WEBP"),
        "kinds/a.tif": saved(picture(62), "TIFF"),
        "kinds/a.gif": saved(picture(63), "GIF"),
        "kinds/a.bmp": saved(picture(64), "BMP"),
        "kinds/16bit.png": saved(Image.fromarray(np.full((64, 96), 40_000, np.uint16)), "PNG"),
        "kinds/cmyk.jpg": saved(picture(65).convert("CMYK"), "JPEG"),
        "kinds/rotated.jpg": jpeg(66, START, orientation=6),
        "kinds/1x1.jpg": saved(Image.new("RGB", (1, 1)), "JPEG"),
        "kinds/tall.jpg": saved(Image.new("RGB", (1, 2000)), "JPEG"),
        "kinds/float.tif": saved(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF"),
        "damage/empty.jpg": b"",
        "damage/words.jpg": b"these are words",
        "damage/bomb.png": bomb(),
        "damage/cut.jpg": saved(picture(70, (640, 480)), "JPEG")[:-4000],
        "damage/header.jpg": b"\xff\xd8\xff\xe0",
        "damage/middle.jpg": damaged(),
        "damage/progressive.jpg": damaged(progressive=True),
        "damage/half.png": saved(picture(71, (640, 480)), "PNG")[:3000],
        "others/notes.txt": b"notes",
        "others/raw.CR2": b"II*\0",
        "others/Thumbs.db": b"",
        "others/no suffix": b"",
        "others/.hidden.jpg": jpeg(72),
        ".Trash/old.jpg": jpeg(73),
        "videos/broken.mp4": b"no video " * 100,
        "videos/empty.avi": b"",
    }
    found |= {f"frames/{i:06}.jpg": damaged() if i == 2 else jpeg(80 + i) for i in range(4)}
    if features.check("avif"):
        found["kinds/a.avif"] = saved(picture(67), "AVIF")
    found["locked/inside.jpg"] = jpeg(74, START)
    found["damage/header.heic"] = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    if "HEIF" in FORMATS:
        found["kinds/a.heic"] = saved(picture(68), "HEIF")
    return found


def write(root):
    """Writes the folder; returns every path in it that is a file, a link or a locked folder."""
    root = pathlib.Path(root)
    for name, data in files().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    write_clip(root / "videos/clip.avi")
    (root.parent / "outside.jpg").write_bytes(jpeg(80))
    for link, target in (
        ("links/out.jpg", root.parent / "outside.jpg"),
        ("links/nowhere.jpg", root / "nowhere.jpg"),
        ("links/self.jpg", root / "links/self.jpg"),
        ("links/loop", root),
    ):
        (root / link).parent.mkdir(exist_ok=True)
        (root / link).symlink_to(target)
    if hasattr(os, "mkfifo"):
        os.mkfifo(root / "links/pipe.jpg")
    if sys.platform == "linux":
        with open(os.path.join(os.fsencode(root), b"names/caf\xe9.jpg"), "wb") as file:
            file.write(jpeg(81))
    return sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()
    ) + ["links/loop"]


def write_clip(path, frames=6, size=(96, 64)):
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 2.0, size)
    for i in range(frames):
        writer.write(np.asarray(picture(90 + i, size))[:, :, ::-1])
    writer.release()


def failures_of(folder):
    lines = (folder / "failures.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def missing(expected, done, failures):
    """Files that are neither done nor named, nor lie in a folder that is named."""
    named = {name_of(f["file"]) for f in failures if f["file"]}
    assert all(f["reason"] and f["detail"] for f in failures)
    covered = {*done, *named}
    return {
        path
        for path in expected - covered
        if not any(path.startswith(f"{folder}/") for folder in named)
    }


if __name__ == "__main__":
    print("\n".join(map(repr, write(sys.argv[1]))))
