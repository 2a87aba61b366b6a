"""`python -m sana_wm.stages.intrinsics PICTURE --weights DIR`: the focal length of a picture, as JSON."""
