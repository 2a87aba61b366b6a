"""How a step is cut so that its working set fits a budget: a pure decision on sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from sana_wm.errors import MemoryCapError
from sana_wm.planning.kernels import KernelRules
from sana_wm.planning.shares import LEANER_SHARE
from sana_wm.sizes import GIB, STAGE1_PROMPT_TOKENS

# Measured on one H200 (reports/bench/stage1-variants.md): matrix products reach their full rate from about this many
# tokens on; more only take memory. 21 frames of 704x1280 with both prompts, and 18 (the 2^15 rounded down to frames).
ATTENTION_CHUNK_TOKENS = 36960
FEED_FORWARD_CHUNK_TOKENS = 32768

MLP_RATIO, PLUCKER_CHANNELS = 3.0, 48  # of the released transformer


@dataclass(frozen=True)
class StepShape:
    """The sizes that decide how much memory a step takes.

    Attributes:
        frames: Latent frames.
        spatial: Tokens per latent frame.
        batch: Guidance branches, 1 or 2.
        channels: Hidden size.
        heads: Attention heads.
        widening: Width of the feed-forward's inside over the hidden size.
        element_bytes: Bytes of an element of an activation.
        attention_element_bytes: Bytes of an element of a query in softmax attention.
        attention_head_dim: Head dim of a query in softmax attention, wider than the true one where a kernel needs it.
        attention_copies: How often one item's query is there besides while a kernel attends.
        conditioning_bytes: What stays the same from step to step: tables, text keys.
        past_frames: Latent frames made before, whose keys softmax attention sees too.
    """

    frames: int
    spatial: int
    batch: int
    channels: int
    heads: int
    widening: int
    element_bytes: int
    attention_element_bytes: int
    attention_head_dim: int
    attention_copies: int
    conditioning_bytes: int
    past_frames: int = 0


def step_shape(
    sizes: Mapping[str, float],
    grid: tuple[int, int, int],
    *,
    prompts: int,
    element_bytes: int,
    attention_element_bytes: int,
    rules: KernelRules,
    conditioning_bytes: int | None = None,
) -> StepShape:
    """The shape of a step from the transformer's configuration.

    Args:
        sizes: `hidden_size`, `linear_head_dim`, `num_layers` and, where they differ from the released ones, `mlp_ratio`
            and `chunk_plucker_channels`.
        grid: Latent frames, height, width.
        prompts: 2 with guidance, else 1.
        element_bytes: Bytes of an element of an activation.
        attention_element_bytes: The same in softmax attention.
        rules: Of the device's attention kernels.
        conditioning_bytes: Measured; the most that full prompts can need when left out.
    """
    channels, head_dim = int(sizes["hidden_size"]), int(sizes["linear_head_dim"])
    if conditioning_bytes is None:
        conditioning_bytes = predict_conditioning_bytes(sizes, grid, prompts, element_bytes)
    return StepShape(
        frames=grid[0],
        spatial=grid[1] * grid[2],
        batch=prompts,
        channels=channels,
        heads=channels // head_dim,
        widening=int(2 * sizes.get("mlp_ratio", MLP_RATIO)),
        element_bytes=element_bytes,
        attention_element_bytes=attention_element_bytes,
        attention_head_dim=rules.kernel_head_dim(head_dim) or head_dim,
        # Folding the scale makes two float32 copies. Without it: the result, and as much again twice by what CUDA's
        # peaks at 121 frames leave unexplained (reports/bench/stage1-h200.json).
        attention_copies=4 if rules.fold_scale else 3,
        conditioning_bytes=conditioning_bytes,
    )


def predict_conditioning_bytes(
    sizes: Mapping[str, float], grid: tuple[int, int, int], prompts: int, element_bytes: int
) -> int:
    """What stays the same from step to step, for prompts that fill all their tokens; arguments as in `step_shape`."""
    channels, head_dim, layers = (int(sizes[name]) for name in ("hidden_size", "linear_head_dim", "num_layers"))
    tokens = grid[0] * grid[1] * grid[2]
    rays = -(-(int(sizes.get("chunk_plucker_channels", PLUCKER_CHANNELS)) + 1) // 8) * 8
    text_keys = prompts * layers * 2 * STAGE1_PROMPT_TOKENS * channels * element_bytes
    plucker = (tokens + layers * channels) * rays * element_bytes
    # Cosines and sines of the whole head's pairs and of its second half's, three 4x4 matrices; float32.
    half_head_pairs = head_dim // 4
    positions = prompts * tokens * (2 * (head_dim // 2) + 2 * half_head_pairs + 3 * 16) * 4
    return text_keys + plucker + positions


def step_tflop(sizes: Mapping[str, float], grid: tuple[int, int, int], passes: int) -> float:
    """Arithmetic of passes over the whole clip, as the formulae need it (no padding, each state matrix once)."""
    channels, head_dim, layers = (int(sizes[name]) for name in ("hidden_size", "linear_head_dim", "num_layers"))
    every = int(sizes["softmax_every_n"])
    tokens = grid[0] * grid[1] * grid[2]
    softmax_layers = layers // every if every else 0
    # The matrices of a block have 26 channels^2 of weights; two of them are for the prompt, whose tokens are few.
    linear = 2 * 24 * channels**2 * tokens * layers
    # Main and camera branch; each has scores and their sum over the values.
    softmax = 2 * 4 * tokens**2 * channels * softmax_layers
    # Products with a head's state: two Gram matrices (state, mass), updates, reading; in the camera branch one of each.
    delta = 2 * 7 * head_dim * channels * tokens * (layers - softmax_layers)
    return passes * (linear + softmax + delta) / 1e12


@dataclass(frozen=True)
class Stage1Plan:
    """How a step is cut.

    Attributes:
        guidance_passes: 1: both guidance branches as one batch; 2: one after the other.
        attention_frames: Latent frames of a chunk in self- and text attention.
        feed_forward_frames: Latent frames of a chunk in the feed-forward.
        working_set_bytes: Predicted peak above the weights.
    """

    guidance_passes: int
    attention_frames: int
    feed_forward_frames: int
    working_set_bytes: int

    def as_json(self) -> dict[str, int]:
        """For receipts and benchmarks."""
        return asdict(self)


def choose_plan(shape: StepShape, budget_bytes: int | None) -> Stage1Plan:
    """The fastest plan within the budget: first smaller chunks, then one guidance branch at a time.

    Raises:
        MemoryCapError: Even the leanest plan needs more.
    """
    plans = _plans(shape)
    if budget_bytes is None:
        return plans[0]
    fitting = (plan for plan in plans if plan.working_set_bytes <= budget_bytes)
    plan = next(fitting, None)
    if plan is None:
        leanest = min(plan.working_set_bytes for plan in plans)
        raise MemoryCapError(
            "stage 1 does not fit its working-set budget",
            got=f"{max(0, budget_bytes) / GIB:.2f} GiB beside its weights",
            expected=f"at least {leanest / GIB:.2f} GiB for {shape.frames} latent frames",
            next_step="Raise memory.cap_gib or ask for fewer frames.",
        )
    return plan


def leaner_plan(shape: StepShape, plan: Stage1Plan) -> Stage1Plan | None:
    """The next plan that takes at least a tenth less; `None` when there is none."""
    return next(
        (other for other in _plans(shape) if other.working_set_bytes <= LEANER_SHARE * plan.working_set_bytes), None
    )


def _plans(shape: StepShape) -> list[Stage1Plan]:
    """All plans, the fastest first; a 64th of a chunk is less than a frame of 704x1280, and so one frame at a time."""
    return [_plan(shape, passes, divisor) for passes in range(1, shape.batch + 1) for divisor in (1, 2, 4, 8, 16, 64)]


def _plan(shape: StepShape, passes: int, divisor: int) -> Stage1Plan:
    tokens_per_frame = shape.spatial * shape.batch // passes

    def frames_of(tokens: int) -> int:
        return min(shape.frames, max(1, tokens // divisor // tokens_per_frame))

    plan = Stage1Plan(passes, frames_of(ATTENTION_CHUNK_TOKENS), frames_of(FEED_FORWARD_CHUNK_TOKENS), 0)
    per_pass = replace(shape, batch=shape.batch // passes)
    return replace(plan, working_set_bytes=predict_working_set_bytes(per_pass, plan))


def predict_working_set_bytes(shape: StepShape, plan: Stage1Plan) -> int:
    """Peak above the weights of one pass, from what each phase of a block holds at a time."""
    frame = shape.spatial * shape.batch * shape.channels * shape.element_bytes
    activation = frame * shape.frames
    attention_chunk = frame * plan.attention_frames
    feed_forward_chunk = frame * plan.feed_forward_frames
    head_dim = shape.channels // shape.heads
    float32 = 4 / shape.element_bytes
    # Delta net: residual, modulated input, two sets of keys; three float32 matrices of transitions and of updates, and
    # then either the temporaries of a chunk (as counted in peaks measured on CUDA) or the states.
    states = 4 * shape.frames * shape.batch * shape.heads * head_dim**2
    delta_net = 4 * activation + max(6 * states + (4 + 3 * float32) * attention_chunk, 10 * states)
    # Softmax: residual, modulated input, result of the main branch; query, key and value, and then either the
    # temporaries of a chunk or the attention's result beside the copies of one item.
    operand = activation * shape.attention_element_bytes / shape.element_bytes * shape.attention_head_dim / head_dim
    attended = activation + shape.attention_copies * operand / shape.batch
    past = 2 * operand * shape.past_frames / shape.frames
    softmax = 3 * activation + 3 * operand + past + max(attended, (2 + 3 * float32) * attention_chunk)
    # Feed-forward: residual and result; half of the wide part before and after the depthwise convolution, the gate.
    feed_forward = 2 * activation + (1.5 * shape.widening + 2) * feed_forward_chunk
    return int(max(delta_net, softmax, feed_forward)) + shape.conditioning_bytes
