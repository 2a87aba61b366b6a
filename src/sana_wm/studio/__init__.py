"""The loop on a page: shows runs and the queue, and does what the commands do, by the same functions."""
