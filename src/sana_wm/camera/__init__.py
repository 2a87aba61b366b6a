"""Camera paths: action strings and pose files to poses, intrinsics and the transformer's camera tensors (numpy only).

Poses are camera-to-world (`c2w`) matrices with OpenCV axes: +x right, +y down, +z forward.
"""
