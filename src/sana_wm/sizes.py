"""Sizes of the released model that more than one part works with, and the unit of memory."""

from __future__ import annotations

GIB = 1024**3

#: Width and height of the video that the model was trained on, in pixels.
TRAINED_SIZE = (1280, 704)
#: Sizes by name: each has at most as many tokens as the trained one, and so takes no more memory or time.
NAMED_SIZES = {"landscape": TRAINED_SIZE, "portrait": (704, 1280), "square": (928, 928)}

#: Frames of the longest video: the tables of positions end there.
MOST_FRAMES = 8185

#: The LTX-2 VAE: of eight frames after the first one latent frame, of 32x32 pixels one latent of 128 channels.
FRAMES_PER_LATENT = 8
PIXELS_PER_LATENT = 32
LATENT_CHANNELS = 128

#: To how many tokens each stage pads its prompt.
STAGE1_PROMPT_TOKENS = 300
REFINER_PROMPT_TOKENS = 1024
