"""The shares of the cap, and how they follow from each other; docs/memory.md says the same for people.

From the cap down: it is the hard limit; a stage close to it is asked to take less; engines plan so far below that a
forecast within its bar is no reason to ask; and who took too much plans below what it had planned with.
"""

from __future__ import annotations

import math

#: Above this share of the cap a stage is asked to take less; the rest is for the step that it ends first.
SOFT_SHARE = 0.97
#: What a forecast may be too low by (`sana-wm bench memory` holds it to that), and so the distance from a measurement.
FORECAST_ERROR = 0.05
#: Engines plan with this: SOFT_SHARE less FORECAST_ERROR, in whole percent, is 0.92.
PLANNED_SHARE = math.floor(100 * SOFT_SHARE * (1 - FORECAST_ERROR)) / 100
#: A step down that is worth it: a tenth less, the least that surely exceeds FORECAST_ERROR.
LEANER_SHARE = 0.9
#: A shorter video is sought under this share of a cap that was exceeded: a LEANER_SHARE of it.
SHORTER_SHARE = LEANER_SHARE
#: After an allocation failed nobody knows by how much: two such steps (0.81), rounded down, of the budget.
AFTER_OUT_OF_MEMORY_SHARE = 0.8
#: At this share of its limit MPS's allocator begins to give back what it caches: a LEANER_SHARE, too.
LOW_WATERMARK_SHARE = LEANER_SHARE
