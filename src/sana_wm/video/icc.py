"""ICC profiles: made of what a file says in other words, and the conversion to sRGB.

Source: ICC.1:2022 (profile format); Bradford adaptation as in its annex E; H.273 and the IEC 61966 series for curves.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from sana_wm.errors import printable
from sana_wm.video.refusal import UnusablePixelsError

Chromaticity = tuple[float, float]

D50_XYZ = np.array([0.9642, 1.0, 0.8249])
D65: Chromaticity = (0.3127, 0.3290)
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
#: A gamma, or g, a, b, c, d of (aX + b)^g for X >= d, else cX.
Curve = float | tuple[float, float, float, float, float]
SRGB_CURVE: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
#: Profiles of sRGB differ by their rounding: no closer than this to it means another space.
SAME_LEVELS = 2
#: How many levels of an ICC profile's name are shown.
MAX_NAME = 60
DAMAGED_PROFILE = "a colour profile that is damaged or cannot be applied"


@dataclass(frozen=True)
class Primaries:
    """Chromaticities x, y.

    Attributes:
        red: Of full red.
        green: Of full green.
        blue: Of full blue.
        white: Of all three.
    """

    red: Chromaticity
    green: Chromaticity
    blue: Chromaticity
    white: Chromaticity = D65


SRGB_PRIMARIES = Primaries((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))


def make_profile(primaries: Primaries, curve: Curve) -> bytes:
    """An RGB profile of primaries and one curve, relative to D50 as profiles are.

    Args:
        primaries: Chromaticities.
        curve: From levels to light.

    Raises:
        UnusablePixelsError: The primaries span no colours.
    """
    columns = adapted_to_d50(primaries)
    if isinstance(curve, tuple):
        curve_tag = b"para\0\0\0\0\0\3\0\0" + _fixed(*curve)
    else:
        curve_tag = b"para\0\0\0\0\0\0\0\0" + _fixed(curve)
    tags = {b"wtpt": b"XYZ \0\0\0\0" + _fixed(*D50_XYZ)}
    for name, column in zip((b"r", b"g", b"b"), columns.T, strict=True):
        tags[name + b"XYZ"] = b"XYZ \0\0\0\0" + _fixed(*column)
        tags[name + b"TRC"] = curve_tag
    table, body, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x",
        *(offset + len(body), 0x04300000, b"mntr", b"RGB ", b"XYZ ", b"acsp", _fixed(*D50_XYZ)),
    )
    return header + table + body


def adapted_to_d50(primaries: Primaries) -> NDArray[np.float64]:
    """The matrix (3, 3) from linear RGB to XYZ, white adapted to D50 by Bradford's transform.

    Raises:
        UnusablePixelsError: The primaries span no colours.
    """
    try:
        corners = np.column_stack([_xyz(point) for point in (primaries.red, primaries.green, primaries.blue)])
        white = _xyz(primaries.white)
        scaled = corners * np.linalg.solve(corners, white)
        cone_gain = np.diag((BRADFORD @ D50_XYZ) / (BRADFORD @ white))
        matrix = np.linalg.inv(BRADFORD) @ cone_gain @ BRADFORD @ scaled
    except (ZeroDivisionError, np.linalg.LinAlgError) as error:
        raise UnusablePixelsError("primaries that span no colours") from error
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > 8:
        raise UnusablePixelsError("primaries that span no colours")
    return matrix


@dataclass(frozen=True)
class Conversion:
    """From a profile's colours to sRGB.

    Attributes:
        source: The profile's name.
        mode: Pillow's mode that it takes.
        transform: Little CMS's.
    """

    source: str
    mode: str
    transform: ImageCms.ImageCmsTransform

    def apply(self, image: Image.Image) -> Image.Image:
        """An image of `mode` as sRGB; relative colorimetric, with black point compensation."""
        if image.mode != self.mode:
            image = image.convert(self.mode)
        converted = ImageCms.applyTransform(image, self.transform, inPlace=self.mode == "RGB")
        return image if converted is None else converted

    @property
    def changes_nothing(self) -> bool:
        """Whether the profile is sRGB's own, but for rounding."""
        if self.mode not in ("RGB", "L"):
            return False
        probe = _cube() if self.mode == "RGB" else _ramp()
        before = np.asarray(probe.convert("RGB"), dtype=np.int16)
        return int(np.abs(before - np.asarray(self.apply(probe), dtype=np.int16)).max()) <= SAME_LEVELS

    @property
    def greatest_step(self) -> int:
        """By how many levels of sRGB two neighbouring greys come apart."""
        greys = np.asarray(self.apply(_ramp().convert(self.mode)), dtype=np.int16)
        return int(np.abs(np.diff(greys, axis=1)).max())


def to_srgb(profile: bytes, mode: str, name: str | None = None) -> Conversion:
    """The conversion that a profile asks for.

    Args:
        profile: An ICC profile.
        mode: Pillow's mode of the picture: L, RGB, CMYK or LAB.
        name: What the profile is called; left out, as it calls itself.

    Raises:
        UnusablePixelsError: It is damaged or cannot be applied.
    """
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return Conversion(name or _name_of(opened), mode, _transform(opened, mode))
    except (ImageCms.PyCMSError, OSError) as error:
        raise UnusablePixelsError(DAMAGED_PROFILE) from error


def lab_to_srgb() -> Conversion:
    """The conversion of CIE L*a*b* of D50, which needs no profile."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB", 5003))
    return Conversion("CIE Lab", "LAB", _transform(lab, "LAB"))


def model_of(profile: bytes) -> str:
    """The colour model that a profile is for: `GRAY`, `RGB`, `CMYK`, `Lab`; from its header.

    Raises:
        UnusablePixelsError: It has no such header.
    """
    if profile[36:40] != b"acsp":
        raise UnusablePixelsError(DAMAGED_PROFILE)
    return printable(profile[16:20].decode("latin-1").strip())


def transfer_code_of(profile: bytes) -> int | None:
    """The transfer function that a profile names by H.273's code (tag `cicp`), as those for HDR do."""
    for start in range(132, 132 + 12 * min(int.from_bytes(profile[128:132]), 100), 12):
        if profile[start : start + 4] == b"cicp":
            offset = int.from_bytes(profile[start + 4 : start + 8])
            return int.from_bytes(profile[offset + 9 : offset + 10])
    return None


def _transform(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    # Little CMS makes a coarse table of a grey curve: dark levels of a linear one would end 10 levels off.
    precise = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION | precise,
    )


def _name_of(profile: ImageCms.ImageCmsProfile) -> str:
    name = printable(ImageCms.getProfileDescription(profile).strip("\0 \n"))
    return name[:MAX_NAME] or "a colour space without a name"


def _cube() -> Image.Image:
    """Colours of the whole RGB cube, its corners and all greys among them."""
    levels = np.linspace(0, 255, 18).round().astype(np.uint8)  # every 15th
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    greys = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, -1, 3)
    return Image.fromarray(np.concatenate([colours, greys], axis=1))


def _ramp() -> Image.Image:
    return Image.fromarray(np.arange(256, dtype=np.uint8)[None])


def _xyz(point: Chromaticity) -> NDArray[np.float64]:
    x, y = point
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _fixed(*values: float) -> bytes:
    """As s15Fixed16Number."""
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))
