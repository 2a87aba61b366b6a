"""The child: one stage per process, `python -m sana_wm.stages STAGE RUN_DIR`."""
