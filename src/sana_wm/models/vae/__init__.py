"""The VAE: first-frame encode and streaming decode."""
