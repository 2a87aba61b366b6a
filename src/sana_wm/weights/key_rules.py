"""How the names of stored tensors become those of the networks, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KeyRules:
    """How stored tensor names become the module's names.

    Attributes:
        strip: Prefixes that some writers add; the first that fits is removed.
        skip: Beginnings of names that are known and never read.
        skip_containing: The same for any part of the name.
        replace: Pairs of beginnings, old and new.
    """

    strip: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    skip_containing: tuple[str, ...] = ()
    replace: tuple[tuple[str, str], ...] = ()

    def __call__(self, key: str) -> str | None:
        """The module's name for a stored tensor; None for one that is known and never read."""
        prefix = next((prefix for prefix in self.strip if key.startswith(prefix)), "")
        name = key.removeprefix(prefix)
        if name.startswith(self.skip) or any(part in name for part in self.skip_containing):
            return None
        for old, new in self.replace:
            if name.startswith(old):
                return new + name.removeprefix(old)
        return name


AS_STORED = KeyRules()
# NVlabs' own loader strips an outer `model.` too. diffusers made `pos_embed` obsolete (RoPE) and never reads the
# learned null caption: 872 stored tensors, 870 read.
STAGE1_RULES = KeyRules(
    strip=("model.",),
    skip=("pos_embed", "y_embedder.y_embedding"),
    replace=(("t_embedder.mlp.0.", "t_embedder.linear_1."), ("t_embedder.mlp.2.", "t_embedder.linear_2.")),
)
GEMMA2_RULES = KeyRules(strip=("model.",), skip=("lm_head.",))
# transformers wrote `language_model.model.*` before 4.52 and `model.language_model.*` since; the vision tower (432 M)
# is never built.
GEMMA3_RULES = KeyRules(
    strip=("model.language_model.", "language_model.model.", "language_model.", "model."),
    skip=("vision_tower.", "multi_modal_projector.", "lm_head."),
)
# The video-only forward never reads these 5.84 B of the 18.88 B parameters.
REFINER_RULES = KeyRules(skip_containing=("audio", "a2v", "v2a", "av_cross"))
CONNECTORS_RULES = KeyRules(skip=("audio_connector.",))
