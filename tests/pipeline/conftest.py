"""The first day's commands are run as those of the other pages are."""

from tests.pages.conftest import remembered_weights, shell, tiny_student, work

__all__ = ["remembered_weights", "shell", "tiny_student", "work"]
