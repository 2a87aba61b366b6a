"""One chunk of the student: its denoising steps, and the pass that lets later chunks see it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel
from torch import Tensor

from sana_wm.models.stage1.conditioning import Stage1Conditioning
from sana_wm.models.stage1.engine import Stage1Engine
from sana_wm.models.stage1.memory import BlockMemory
from sana_wm.models.streaming.conditioning import StreamConditioning
from sana_wm.models.streaming.memory import StreamMemory
from sana_wm.models.streaming.replay import ReplayedPass
from sana_wm.names import StreamingVersion
from sana_wm.planning.kernels import kernel_rules
from sana_wm.planning.stage1 import Stage1Plan, StepShape, choose_plan, leaner_plan
from sana_wm.planning.streaming import CHUNK_FRAMES, TIMESTEPS, Window, chunk_shape


class StreamingEngine:
    """Runs the loaded transformer over chunks, by the Stage 1 engine's parts.

    Args:
        transformer: In evaluation mode, on its device, in its dtype.
        version: Which of the two published forms of the student's arithmetic.
        window: Which earlier chunks the softmax blocks see.
        chunk_frames: Latent frames of every chunk but the first.
        timesteps: Of the steps, descending, whole; sigmas are a thousandth of them, and the last step ends at 0.
        working_set_bytes: Limit for everything but the weights, what is remembered included; `None`: no limit.
        attention_dtype: What softmax self-attention computes in and keeps; upstream rounds to bfloat16 even in a
            float32 model.
        replay: Whether passes of steady chunks are captured and replayed; where CUDA computes, when left out. A chunk's
            memory is then spent by the pass that remembers the next one.

    Attributes:
        plan: How the passes are cut since the latest `prepare`; `None` before.

    Raises:
        WeightsError: The transformer's configuration is not one that the engine computes.

    Source: NVlabs/Sana, self_forcing_flow_euler_sampler.py (the loop), sana_gdn_blocks.py and fused_streaming.py.
    """

    def __init__(
        self,
        transformer: SanaWMTransformer3DModel,
        *,
        version: StreamingVersion = "main",
        window: Window | None = None,
        chunk_frames: int = CHUNK_FRAMES,
        timesteps: tuple[int, ...] = TIMESTEPS,
        working_set_bytes: int | None = None,
        attention_dtype: torch.dtype | None = torch.bfloat16,
        replay: bool | None = None,
    ) -> None:
        self._network = Stage1Engine(
            transformer, camera_rescale="none", attention_dtype=attention_dtype, streaming_version=version
        )
        self.transformer = transformer
        self.window = window or Window()
        self.chunk_frames = chunk_frames
        self.timesteps = timesteps
        self.working_set_bytes = working_set_bytes
        self.plan: Stage1Plan | None = None
        self._shape: StepShape | None = None
        self.device = next(transformer.parameters()).device
        self._replay = self.device.type == "cuda" if replay is None else replay
        self._look = ReplayedPass(self._network.predict, keep=False)
        self._keep = ReplayedPass(self._network.predict, keep=True)

    @torch.no_grad()
    def prepare(
        self, prompt_embeds: Tensor, prompt_attention_mask: Tensor, camera: Mapping[str, Tensor]
    ) -> StreamConditioning:
        """Make what serves all chunks, and plan the passes; arguments as of `StreamConditioning`.

        Raises:
            MemoryCapError: No plan fits the working-set budget.
        """
        conditioning = StreamConditioning(
            self.transformer, prompt_embeds, prompt_attention_mask, camera, self.chunk_frames
        )
        parameter = next(self.transformer.parameters())
        self._shape = chunk_shape(
            self.transformer.config,
            conditioning.ranges,
            conditioning.plane,
            self.window,
            element_bytes=parameter.element_size(),
            attention_element_bytes=(self._network.attention_dtype or parameter.dtype).itemsize,
            rules=kernel_rules(parameter.device.type, torch.__version__),
        )
        self.plan = choose_plan(self._shape, self.working_set_bytes)
        return conditioning

    def shrink(self) -> bool:
        """Go on with less memory from the next chunk on; what is already remembered stays as it is.

        The results then differ in their rounding: sums are taken over other parts.

        Returns:
            Whether there is a leaner plan; otherwise nothing changes.
        """
        if self._shape is None or self.plan is None:
            return False
        leaner = leaner_plan(self._shape, self.plan)
        if leaner is not None:
            self.plan = leaner
        return leaner is not None

    def new_memory(self) -> StreamMemory:
        """The memory before the first chunk."""
        return StreamMemory(self.window)

    @torch.no_grad()
    def denoise(self, latents: Tensor, conditioning: StreamConditioning, memory: StreamMemory) -> Tensor:
        """Take the next chunk down all noise levels.

        Args:
            latents: (1, C, n, h, w) float32: noise; in the first chunk behind the clean first frame.
            conditioning: From `prepare`.
            memory: What the chunks before it left.

        Returns:
            (1, C, n, h, w) float32 on the device of the network; the first frame of the video keeps its bits.
        """
        chunk = self._chunk(conditioning, memory)
        past = memory.past()
        clean_frames = 1 if memory.next_chunk == 0 else 0
        current = latents.to(self.device, torch.float32, copy=True)
        for timestep, following in pairwise((*self.timesteps, 0)):
            # Made on the device: a copy from the host would wait for the pass before.
            frame_timesteps = torch.full(
                (current.shape[2] if clean_frames else 1,), float(timestep), device=self.device
            )
            frame_timesteps[:clean_frames] = 0
            velocity, _ = self._pass(self._look, current, frame_timesteps, chunk, past)
            current[:, :, clean_frames:] += (following - timestep) / 1000 * velocity[:, :, clean_frames:]
        return current

    @torch.no_grad()
    def remember(self, latents: Tensor, conditioning: StreamConditioning, memory: StreamMemory) -> StreamMemory:
        """Pass the next chunk's latents as clean ones, so that later chunks see them.

        Args:
            latents: (1, C, n, h, w), what `denoise` returned.
            conditioning: From `prepare`.
            memory: What the chunks before it left; with `replay` it is spent.

        Returns:
            The memory with this chunk in it.
        """
        chunk = self._chunk(conditioning, memory)
        clean = torch.zeros(1, device=self.device)
        _, kept = self._pass(self._keep, latents.to(self.device, torch.float32), clean, chunk, memory.past())
        return memory.after(kept or [], in_place=self._replay)

    def _pass(
        self,
        replayed: ReplayedPass,
        latents: Tensor,
        frame_timesteps: Tensor,
        chunk: Stage1Conditioning,
        past: list[BlockMemory] | None,
    ) -> tuple[Tensor, list[BlockMemory] | None]:
        if self._replay and self.device.type == "cuda":
            return replayed(latents, frame_timesteps, chunk, past)
        return replayed.once(latents, frame_timesteps, chunk, past)

    def _chunk(self, conditioning: StreamConditioning, memory: StreamMemory) -> Stage1Conditioning:
        if self.plan is None:
            raise RuntimeError("prepare must come before the first chunk")
        return conditioning.of(memory.next_chunk, self.plan)
