"""The lean Stage 1 engine: one denoising velocity of a loaded `SanaWMTransformer3DModel`, in bounded memory.

It reads the parameters of the loaded object and computes what its `forward` computes, in another order: the residual
stream lies frame by frame, (T, B, S, C), so that any run of frames is one contiguous matrix, and every phase but
softmax attention and the recurrence works on a few frames at a time. Nothing of diffusers is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel
from torch import Tensor
from torch.nn import functional as F

from sana_wm.errors import WeightsError
from sana_wm.models.attention import AttentionBudget
from sana_wm.models.pacing import end_piece
from sana_wm.models.stage1.block import Stage1Block
from sana_wm.models.stage1.conditioning import (
    Stage1Conditioning,
    arrange_plucker,
    blocks_of,
    build_positions,
    encode_text,
    merge_plucker_projections,
    tensor_bytes,
)
from sana_wm.models.stage1.memory import NO_MEMORY, BlockMemory
from sana_wm.models.stage1.modulation import modulate
from sana_wm.names import CameraRescale, StreamingVersion
from sana_wm.planning.kernels import kernel_rules
from sana_wm.planning.stage1 import Stage1Plan, StepShape, choose_plan, leaner_plan, step_shape
from sana_wm.replacements.catalogue import require

# What the engine's arithmetic is written for: all of it true of the released checkpoint.
SUPPORTED_CONFIG = {
    "patch_size": (1, 1, 1),
    "ffn_type": "GLUMBConvTemp",
    "mlp_acts": ("silu", "silu", None),
    "pos_embed_type": "wan_rope",
    "use_pe": True,
    "qk_norm": True,
    "cross_norm": True,
    "k_conv_only": True,
    "cam_attn_compress": 1,
    "use_chunk_plucker_post_attn": True,
    "pred_sigma": False,
}

# What of diffusers the engine stands for (patches/catalogue/diffusers).
PATCHES = (
    "stage1-camera-branch",
    "stage1-camera-geometry",
    "stage1-delta-net",
    "stage1-feed-forward",
    "stage1-forward",
    "stage1-loop",
    "stage1-patch-embedding",
    "stage1-rotary",
    "stage1-short-convolution",
    "stage1-softmax-attention",
    "stage1-text-attention",
)


class Stage1Engine:
    """Velocities of a loaded transformer.

    Args:
        transformer: In evaluation mode, on its device, in its dtype.
        camera_rescale: Where camera queries, keys and values are scaled back to their former RMS: in the softmax
            blocks (`pr379`, what NVIDIA released), in all (`diffusers`), in none (`none`, later main).
        working_set_bytes: Limit for everything but the weights; `None`: no limit.
        attention_dtype: What softmax self-attention computes in. Upstream rounds to bfloat16 even in a float32 model;
            float32 is the exact form.
        streaming_version: Which form of the student's arithmetic; `None` for the bidirectional model.

    Attributes:
        plan: How the steps of the latest `prepare` are cut; `None` before.

    Raises:
        WeightsError: The transformer's configuration is not one that the engine computes.
    """

    def __init__(
        self,
        transformer: SanaWMTransformer3DModel,
        *,
        camera_rescale: CameraRescale,
        working_set_bytes: int | None = None,
        attention_dtype: torch.dtype | None = torch.bfloat16,
        streaming_version: StreamingVersion | None = None,
    ) -> None:
        require(*PATCHES)
        check_config(transformer)
        self.transformer = transformer
        self.working_set_bytes = working_set_bytes
        self.attention_dtype = attention_dtype
        self.plan: Stage1Plan | None = None
        self._shape: StepShape | None = None
        self._attention_budget = AttentionBudget()
        self._blocks = [
            Stage1Block(
                block,
                camera_rescale=camera_rescale,
                attention_dtype=attention_dtype,
                budget=self._attention_budget,
                streaming_version=streaming_version,
            )
            for block in blocks_of(transformer)
        ]

    @torch.no_grad()
    def prepare(
        self, prompt_embeds: Tensor, prompt_attention_mask: Tensor, camera: Mapping[str, Tensor]
    ) -> Stage1Conditioning:
        """Make everything that does not change between steps, and plan the steps.

        Args:
            prompt_embeds: (2, 1, L, D), negative prompt first, or (1, 1, L, D) for runs without guidance.
            prompt_attention_mask: (2 or 1, L); may have holes.
            camera: `chunk_plucker` (48, T, h, w), `P` and `P_inv` (N, 4, 4), float32 on the CPU. `raymap` is not read:
                it is what P was made from.

        Raises:
            MemoryCapError: No plan fits the working-set budget.
        """
        plucker = camera["chunk_plucker"]
        grid = (int(plucker.shape[1]), int(plucker.shape[2]), int(plucker.shape[3]))
        text = encode_text(self.transformer, prompt_embeds, prompt_attention_mask)
        positions = build_positions(self.transformer, camera, grid)
        rays = arrange_plucker(plucker, next(self.transformer.parameters()))
        projections = merge_plucker_projections(self.transformer)
        prompts = len(text[0])
        self._shape = self._step_shape(
            grid, prompts, tensor_bytes(text, rays, projections) + prompts * tensor_bytes(positions)
        )
        self.plan = choose_plan(self._shape, self.working_set_bytes)
        positions = positions.repeat(prompts // self.plan.guidance_passes)
        return Stage1Conditioning(grid, text, positions, rays, projections, self.plan)

    def shrink(self) -> bool:
        """Let the next `prepare` plan with less memory than the last one.

        The results then differ in their rounding: sums are taken over other chunks.

        Returns:
            Whether there is a leaner plan; otherwise nothing changes.
        """
        if self._shape is None or self.plan is None:
            return False
        leaner = leaner_plan(self._shape, self.plan)
        if leaner is not None:
            self.working_set_bytes = leaner.working_set_bytes
        return leaner is not None

    @torch.no_grad()
    def velocity(
        self, latents: Tensor, timestep: float, conditioning: Stage1Conditioning, guidance_scale: float
    ) -> Tensor:
        """The guided velocity of one step.

        Args:
            latents: (1, C, T, h, w); frame 0 is the clean condition and gets timestep 0.
            timestep: Of the other frames, 0 to 1000; cut to an integer as upstream does.
            conditioning: From `prepare`.
            guidance_scale: At most 1: the prompt alone, without the negative prompt.

        Returns:
            (1, C, T, h, w) float32 on the device of the network.

        Raises:
            ValueError: Guidance was asked for, but `prepare` saw one prompt only; or the shapes differ.
        """
        self._check_inputs(latents, conditioning, guidance_scale)
        frame_timesteps = torch.full((latents.shape[2],), float(int(timestep)))
        frame_timesteps[0] = 0
        last = conditioning.prompts - 1
        if guidance_scale <= 1:
            return self.predict(latents, frame_timesteps, conditioning, (last,))
        if conditioning.plan.guidance_passes == 1:
            negative, positive = self.predict(latents, frame_timesteps, conditioning, (0, 1)).split(1)
        else:
            negative = self.predict(latents, frame_timesteps, conditioning, (0,))
            positive = self.predict(latents, frame_timesteps, conditioning, (1,))
        return torch.lerp(negative, positive, guidance_scale)

    @torch.no_grad()
    def predict(
        self,
        latents: Tensor,
        frame_timesteps: Tensor,
        conditioning: Stage1Conditioning,
        prompts: tuple[int, ...],
        past: Sequence[BlockMemory] | None = None,
        kept: list[BlockMemory] | None = None,
    ) -> Tensor:
        """Velocities without guidance.

        Args:
            latents: (1, C, T, h, w).
            frame_timesteps: (T,) float32, whole numbers; or (1,), the same for all frames.
            conditioning: From `prepare`.
            prompts: Which of its prompts, computed as one batch.
            past: Per block, what earlier frames left; nothing when left out.
            kept: Receives per block what these frames leave.

        Returns:
            (prompts, C, T, h, w) float32.
        """
        frame_embedding, block_embedding = self._embed_timesteps(frame_timesteps)
        x = self._embed_latents(latents)
        for index, block in enumerate(self._blocks):
            text = tuple(conditioning.text[index][prompt] for prompt in prompts)
            x, memory = block.forward(
                x,
                block_embedding,
                text,
                conditioning.plucker_projections[index],
                conditioning,
                NO_MEMORY if past is None else past[index],
                keep=kept is not None,
            )
            if kept is not None:
                kept.append(memory)
            end_piece(x.device)
        return self._decode_velocity(x, frame_embedding, conditioning)

    def _embed_latents(self, latents: Tensor) -> Tensor:
        """(1, C, T, h, w) -> (T, 1, S, hidden). The batch stays 1: prompts only differ after a text attention."""
        projection = self.transformer.x_embedder.proj
        tokens = latents[0].flatten(2).permute(1, 2, 0).to(projection.weight.device, projection.weight.dtype)
        return F.linear(tokens, projection.weight.flatten(1), projection.bias)[:, None]

    def _embed_timesteps(self, frame_timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings per frame for the final layer (T, C) and for the blocks (T, 6, C)."""
        transformer = self.transformer
        parameter = next(transformer.parameters())
        sinusoids = transformer.time_proj(frame_timesteps.to(parameter.device)).to(parameter.dtype)
        embedding = transformer.t_embedder(sinusoids)
        return embedding, transformer.t_block(embedding).unflatten(-1, (6, -1))

    def _decode_velocity(self, x: Tensor, embedding: Tensor, conditioning: Stage1Conditioning) -> Tensor:
        final = self.transformer.final_layer
        shift, scale = (final.scale_shift_table + embedding[:, None])[:, None, None].unbind(3)
        normed = modulate(x, shift, 1 + scale, final.norm_final.eps, out=x)
        return final.linear(normed).float().permute(1, 3, 0, 2).unflatten(-1, conditioning.grid[1:]).contiguous()

    def _step_shape(self, grid: tuple[int, int, int], prompts: int, conditioning_bytes: int) -> StepShape:
        parameter = next(self.transformer.parameters())
        return step_shape(
            self.transformer.config,
            grid,
            prompts=prompts,
            element_bytes=parameter.element_size(),
            attention_element_bytes=(self.attention_dtype or parameter.dtype).itemsize,
            rules=kernel_rules(parameter.device.type, torch.__version__),
            conditioning_bytes=conditioning_bytes,
        )

    @staticmethod
    def _check_inputs(latents: Tensor, conditioning: Stage1Conditioning, guidance_scale: float) -> None:
        if latents.shape[0] != 1 or tuple(latents.shape[2:]) != conditioning.grid:
            raise ValueError(
                f"latents are {tuple(latents.shape)}, the conditioning is for (1, C, *{conditioning.grid})"
            )
        if guidance_scale > 1 and conditioning.prompts != 2:
            raise ValueError(f"guidance_scale {guidance_scale} needs a negative and a positive prompt; prepare saw one")


def check_config(transformer: SanaWMTransformer3DModel) -> None:
    """Raise `WeightsError` unless the engine's arithmetic is that of this transformer."""
    for name, expected in SUPPORTED_CONFIG.items():
        value = transformer.config[name]
        got = tuple(value) if isinstance(value, list) else value
        if got != expected:
            raise WeightsError(
                f"the Stage 1 engine does not compute transformers with this {name}",
                got=got,
                expected=expected,
                next_step="Use the released SANA-WM checkpoint.",
            )
