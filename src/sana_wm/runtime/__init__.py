"""Services inside a stage process: device, phases, latents in and out, events, checkpoints."""
