"""`python -m sana_wm_mps ARGUMENTS`: upstream's `inference_sana_wm.py ARGUMENTS` on MPS, CUDA or the CPU."""

from pathlib import Path

from sana_wm_mps.inference import run_script

if __name__ == "__main__":
    run_script(Path(__file__).resolve().parents[1])
