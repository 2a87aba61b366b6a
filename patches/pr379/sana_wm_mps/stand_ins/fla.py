"""`fla.modules`: the short convolution; the package itself needs Triton."""

from sana_wm_mps.short_convolution import ShortConvolution

__all__ = ["ShortConvolution"]
