"""Makes the pictures of this folder: one small synthetic scene, stored in every way a camera or a
person may store it. Needs Pillow (13.0 was used). Run in this folder."""

import struct
import zlib

from PIL import Image

WIDTH, HEIGHT = 24, 16


def scene():
    """Four flat blocks, so that JPEG keeps them: red, green / blue, light grey."""
    blocks = [(200, 30, 30), (30, 160, 40), (40, 50, 190), (210, 210, 210)]
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            picture.putpixel((x, y), blocks[2 * (y >= 8) + (x >= 16)])
    return picture


def png(path, depth, colour, rows, interlaced=False):
    """A PNG by hand, for kinds that Pillow does not write."""

    def chunk(name, data):
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, int(interlaced))
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + body)


def wide(values):
    # The low byte is noise: reading must not depend on it.
    return b"".join(struct.pack(">H", value << 8 | 0x5A) for value in values)


picture = scene()
pixels = [[picture.getpixel((x, y)) for x in range(WIDTH)] for y in range(HEIGHT)]
picture.save("rgb.png")
picture.convert("L").save("grey.png")
png("grey16.png", 16, 0, [wide(round(sum(p) / 3) for p in row) for row in pixels])
png("rgb16.png", 16, 2, [wide(v for p in row for v in p) for row in pixels])
# Adam7: first x, first y, step x, step y of each pass.
passes = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
]
rows = [
    b"".join(bytes(pixels[y][x]) for x in range(left, WIDTH, step_x))
    for left, top, step_x, step_y in passes
    for y in range(top, HEIGHT, step_y)
]
png("interlaced.png", 8, 2, rows, interlaced=True)
picture.quantize(4).save("palette.png")
picture.convert("1", dither=0).save("one-bit.png")
picture.save("rgb.jpg", quality=95, subsampling=0)
picture.convert("L").save("grey.jpg", quality=95)
# Pillow writes CMYK as Adobe does: inverted, with its marker (transform 0).
cmyk = picture.convert("CMYK")
cmyk.save("cmyk.jpg", quality=95)
picture.save("progressive.jpg", quality=95, subsampling=0, progressive=True)
# Left half opaque, right half transparent over a colour nobody sees.
clear = picture.convert("RGBA")
for y in range(HEIGHT):
    for x in range(WIDTH // 2, WIDTH):
        clear.putpixel((x, y), (255, 0, 255, 0))
clear.save("transparent.png")

# EXIF orientations: stored so that a viewer shows the scene upright in each.
TURNED = {
    1: lambda p: p,
    2: lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda p: p.transpose(Image.Transpose.ROTATE_180),
    4: lambda p: p.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda p: p.transpose(Image.Transpose.TRANSPOSE),
    6: lambda p: p.transpose(Image.Transpose.ROTATE_90),
    7: lambda p: p.transpose(Image.Transpose.TRANSVERSE),
    8: lambda p: p.transpose(Image.Transpose.ROTATE_270),
}
for orientation, store in TURNED.items():
    exif = Image.Exif()
    exif[0x112] = orientation
    store(picture).save(f"exif-{orientation}.jpg", quality=95, subsampling=0, exif=exif)
exif = Image.Exif()
exif[0x112] = 6
TURNED[6](picture).save("exif-6.png", exif=exif)
# A kind that is not read.
picture.save("scene.bmp")
# YCCK (Adobe, transform 2), as print software writes it: the inks as YCbCr. Pillow inverts all four
# bands of a CMYK JPEG on writing; they are inverted before, and the marker is changed after.
cyan, magenta, yellow, black = cmyk.split()
inks = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
bands = [band.point(lambda v: 255 - v) for band in inks]
Image.merge("CMYK", (*bands, black)).save("ycck.jpg", quality=95)
data = open("ycck.jpg", "rb").read()
at = data.index(b"Adobe") + 11
assert data[at] == 0
open("ycck.jpg", "wb").write(data[:at] + b"\x02" + data[at + 1 :])
