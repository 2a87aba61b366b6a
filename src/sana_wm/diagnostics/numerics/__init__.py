"""The numerics self-test: what this machine's device computes, held against its CPU."""
