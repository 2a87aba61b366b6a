"""Memory of NVIDIA cards as the driver sees it: all processes together, allocations of every library included."""

from __future__ import annotations

import pynvml


def cards_used_bytes() -> int | None:
    """Bytes in use on all NVIDIA cards of this machine by anybody; `None` where there is no driver to ask.

    What a stage's own counters miss shows here: the context, cuBLAS and cuDNN, a process that did not die. It cannot
    say whose the memory is.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        cards = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return sum(int(pynvml.nvmlDeviceGetMemoryInfo(card).used) for card in cards)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
