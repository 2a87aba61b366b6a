"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

#: As many bytes as the signatures below look at.
HEAD_BYTES = 64
#: Kinds that a first frame may have, with the reader that opens each.
READERS = {
    "PNG": "PNG",
    "JPEG": "JPEG",
    "HEIC": "HEIF",
    "AVIF": "AVIF",
    "WebP": "WEBP",
    "TIFF": "TIFF",
    "BMP": "BMP",
    "GIF": "GIF",
    "PPM": "PPM",
}
_AT_START: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II\x2a\0\x10\0\0\0CR", "a camera's raw file (CR2)"),
    (b"II\x2a\0", "TIFF"),
    (b"MM\0\x2a", "TIFF"),
    (b"II\x2b\0", "TIFF"),
    (b"MM\0\x2b", "TIFF"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "a Photoshop document"),
    (b"gimp xcf", "a GIMP document"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"%PDF", "PDF"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"DDS ", "a DDS texture"),
    (b"\0\0\1\0", "an icon"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)"),
    (b"IIRO", "a camera's raw file (ORF)"),
    (b"IIU\0", "a camera's raw file (RW2)"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"version https://git-lfs", "a Git LFS pointer, not the picture itself"),
)
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2")


def kind_of(head: bytes) -> str | None:
    """The kind of a file, in words; `None` where its first bytes are of none that is known.

    Args:
        head: Its first `HEAD_BYTES` bytes.
    """
    for signature, kind in _AT_START:
        if head.startswith(signature):
            return kind
    if head[4:8] == b"ftyp":
        return _kind_of_boxes(head)
    if head[:4] == b"RIFF":
        return "WebP" if head[8:12] == b"WEBP" else "a video or sound"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    return _kind_of_text(head)


def _kind_of_boxes(head: bytes) -> str:
    """Of a file of ISO base media boxes, by its brands: still pictures and videos share the container."""
    major, compatible = head[8:12], [head[start : start + 4] for start in range(16, len(head), 4)]
    if major in (b"avif", b"avis") or (major in _HEIC_BRANDS and b"avif" in compatible):
        return "AVIF"
    if major in _HEIC_BRANDS:
        return "HEIC"
    return "a camera's raw file (CR3)" if major == b"crx " else "a video"


def _kind_of_text(head: bytes) -> str | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page"
    return "SVG" if text.startswith((b"<svg", b"<?xml")) else None
