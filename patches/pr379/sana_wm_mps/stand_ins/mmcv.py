"""`mmcv` 1.x: a registry of classes, and two helpers of its logging."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

logger_initialized: dict[str, bool] = {}


def get_dist_info() -> tuple[int, int]:
    """Rank and world size: one process."""
    return 0, 1


class Registry:
    """Names to classes or functions that build something.

    Args:
        name: What is registered, for messages.
    """

    def __init__(self, name: str, **_: object) -> None:
        self.name = name
        self.module_dict: dict[str, Callable[..., Any]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self.module_dict

    def get(self, key: str) -> Callable[..., Any] | None:
        """What is registered under a name."""
        return self.module_dict.get(key)

    def register_module(
        self, name: str | None = None, *, force: bool = False, module: Callable[..., Any] | None = None
    ) -> Any:
        """Register a class or function, as a call or as a decorator."""

        def register(entry: Callable[..., Any]) -> Callable[..., Any]:
            key = name or entry.__name__
            if key in self.module_dict and not force:
                raise KeyError(f"{key} is already registered in {self.name}")
            self.module_dict[key] = entry
            return entry

        return register if module is None else register(module)

    def build(self, cfg: dict[str, Any], default_args: dict[str, Any] | None = None) -> Any:
        """Call what `cfg["type"]` names with the other entries and the defaults."""
        return build_from_cfg(cfg, self, default_args)


def build_from_cfg(cfg: dict[str, Any], registry: Registry, default_args: dict[str, Any] | None = None) -> Any:
    """Build from a registry; see `Registry.build`."""
    arguments = {**(default_args or {}), **cfg}
    kind = arguments.pop("type")
    entry = registry.get(kind) if isinstance(kind, str) else kind
    if entry is None:
        raise KeyError(f"{kind} is not registered in {registry.name}")
    return entry(**arguments)
