"""SANA-WM on Apple Silicon: manifest in, MP4 out, one subprocess per stage."""

__version__ = "0.1.0"
