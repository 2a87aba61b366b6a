"""`python -m sana_wm.stages.frame RUN_DIR FRAME OUT`: one frame of a finished run as PNG, decoded from its latents."""
