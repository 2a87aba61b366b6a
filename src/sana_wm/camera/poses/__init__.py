"""Camera paths in the files that other tools write: one reader a format, `formats` is their table.

A reader says what a file holds, as the file holds it (`contents.PosesFile`). `reading` makes one path of it: rigid,
camera-to-world, OpenCV axes, seen from the first pose, at the video's frame rate.
"""
