"""The checkup of a machine: facts in, findings out, each with what to do. Whether a real run can start here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from sana_wm.planning.device import Device
from sana_wm.sizes import GIB

Level = Literal["ok", "warning", "problem"]

#: Disk that is asked for: a run of 321 frames takes 0.3 GiB, and the system wants a margin.
RUN_DISK_BYTES = 2 * GIB
#: The least unified memory of a Mac on which the planned peaks of all stages fit (docs/memory.md).
LEAST_MEMORY_BYTES = 16 * GIB
#: Environment variables that change what torch computes or how it allocates: name -> level and what it does.
MEANINGFUL_VARIABLES: dict[str, tuple[Level, str]] = {
    "PYTORCH_ENABLE_MPS_FALLBACK": ("warning", "taken out for runs: a missing kernel shall raise"),
    "PYTORCH_MPS_FAST_MATH": ("warning", "taken out for runs: it makes arithmetic less exact"),
    "PYTORCH_MPS_HIGH_WATERMARK_RATIO": ("warning", "replaced for runs by the manifest's memory.cap_gib"),
    "PYTORCH_MPS_LOW_WATERMARK_RATIO": ("warning", "replaced for runs by the manifest's memory.cap_gib"),
    "PYTORCH_MPS_PREFER_METAL": ("warning", "changes which matrix kernels run; unset it for the tested ones"),
    "ATEN_CPU_CAPABILITY": ("warning", "taken out for runs: a run that goes on shall use the same kernels"),
    "NVIDIA_TF32_OVERRIDE": ("warning", "taken out for runs: it changes how exact products are"),
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": ("warning", "taken out for runs: it changes how exact products are"),
    "PYTORCH_NO_CUDA_MEMORY_CACHING": ("warning", "makes CUDA runs crawl; unset it"),
    "CUDA_VISIBLE_DEVICES": ("ok", "which NVIDIA cards torch sees"),
    "HF_HUB_OFFLINE": ("ok", "no downloads; runs set it themselves"),
    "HF_HOME": ("ok", "where the hub's client keeps its files"),
    "SANA_WM_MODEL_ROOT": ("ok", "where manifests find the SANA-WM weights"),
    "SANA_WM_STREAMING_ROOT": ("ok", "where manifests find the weights of the streaming model"),
    "SANA_GEMMA_2_2B_IT_ROOT": ("ok", "where manifests find gemma-2-2b-it"),
}


@dataclass(frozen=True)
class Facts:
    """What was found on a machine; `None` where it cannot be known.

    Attributes:
        system: `Darwin` or `Linux`.
        system_version: `15.5` on a Mac, the kernel elsewhere.
        architecture: `arm64`, `x86_64`, …, of the Python that runs.
        chip: Such as `Apple M3 Max`.
        memory_bytes: Of the machine.
        python: Version.
        torch: Version; `None` when it is not installed.
        packages: Versions of the other packages that compute; `None` for missing ones.
        torchvision: Version; `None` when it is not installed.
        device: What `auto` means here.
        free_disk_bytes: Of the disk of the current folder.
        codecs: Those that ffmpeg can encode and we can ask for; `None` without ffmpeg.
        weights: Where weights were looked for, and every problem with them; `None` when nobody said where.
        environment: The variables of `MEANINGFUL_VARIABLES` that are set.
        idle_sleep_min: Minutes after which an idle Mac on mains sleeps; 0 never.
    """

    system: str
    system_version: str
    architecture: str
    chip: str
    memory_bytes: int
    python: str
    torch: str | None
    packages: Mapping[str, str | None]
    torchvision: str | None
    device: Device | None
    free_disk_bytes: int
    codecs: tuple[str, ...] | None
    weights: tuple[str, tuple[str, ...]] | None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    idle_sleep_min: int | None = None


@dataclass(frozen=True)
class Finding:
    """One line of the checkup.

    Attributes:
        what: What was looked at.
        value: What was found.
        level: `ok`, `warning` (a run can start), `problem` (it cannot, or would give wrong results).
        advice: What to do; says for `ok` that there is nothing to do, or what it means.
    """

    what: str
    value: str
    level: Level
    advice: str

    def as_json(self) -> dict[str, str]:
        """For `--json`."""
        return asdict(self)


def examine(facts: Facts) -> list[Finding]:
    """Every finding on a machine, in the order in which a user should read them."""
    return [
        *_examine_machine(facts),
        *_examine_software(facts),
        *_examine_combinations(facts),
        *_examine_surroundings(facts),
        *_examine_environment(facts.environment),
    ]


def can_run(findings: list[Finding]) -> bool:
    """Whether a real run can start."""
    return all(finding.level != "problem" for finding in findings)


def _examine_machine(facts: Facts) -> list[Finding]:
    memory = f"{facts.memory_bytes / GIB:.0f} GiB"
    findings = [Finding("machine", f"{facts.chip}, {facts.system} {facts.system_version}", "ok", "nothing to do")]
    if facts.memory_bytes < LEAST_MEMORY_BYTES:
        advice = "too little for the refiner even one block at a time: set refiner.enabled to false"
        findings.append(Finding("memory", memory, "problem", advice))
    else:
        findings.append(Finding("memory", memory, "ok", "`sana-wm plan MANIFEST` says what fits"))
    if facts.device is None:
        advice = "install the dependencies as README.md says"
        findings.append(Finding("device", "unknown: torch cannot be asked", "problem", advice))
    elif facts.device.kind == "cpu":
        advice = "full-size runs take days on a CPU; the tiny checkpoint of `sana-wm demo` runs in a minute"
        findings.append(Finding("device", f"cpu, {memory}", "warning", advice))
    else:
        device = facts.device
        advice = "engines plan with this much, or with memory.cap_gib if that is less"
        if device.kind == "mps":
            advice += "; `sudo sysctl iogpu.wired_limit_mb=N` raises it until the next start"
        value = f"{device.kind}, {device.name}, {device.memory_bytes / GIB:.1f} GiB recommended at most"
        findings.append(Finding("device", value, "ok", advice))
    return findings


def _examine_software(facts: Facts) -> list[Finding]:
    findings = [Finding("python", f"{facts.python} ({facts.architecture})", "ok", "nothing to do")]
    if facts.system == "Darwin" and facts.architecture != "arm64":
        findings[0] = Finding(
            "python",
            f"{facts.python} ({facts.architecture})",
            "problem",
            "this Python runs under Rosetta and has no GPU: install an arm64 Python and make .venv anew",
        )
    for name, version in {"torch": facts.torch, **facts.packages}.items():
        if version is None:
            findings.append(Finding(name, "missing", "problem", "install sana-wm again: docs/install.md"))
        else:
            findings.append(Finding(name, version, "ok", "nothing to do"))
    if facts.torchvision is not None and facts.system == "Linux":
        advice = "its Linux wheel breaks `import transformers` beside a CPU-only torch: pip uninstall torchvision"
        findings.append(Finding("torchvision", facts.torchvision, "warning", advice))
    return findings


def _examine_combinations(facts: Facts) -> list[Finding]:
    """Combinations of chip, macOS and torch that are known to be bad (docs/mps.md has the sources)."""
    if facts.system != "Darwin" or facts.torch is None:
        return []
    torch, macos = _version(facts.torch), _version(facts.system_version)
    findings: list[Finding] = []

    def add(level: Level, value: str, advice: str) -> None:
        findings.append(Finding("combination", value, level, advice))

    if macos < (14,):
        add("problem", f"macOS {facts.system_version}", "torch's MPS needs macOS 14: update the system")
    elif macos < (15,) and torch >= (2, 15):
        add("problem", f"torch {facts.torch} on macOS {facts.system_version}", "torch 2.15 needs macOS 15: use 2.14.1")
    if torch < (2, 13):
        advice = "attention has no fused kernel for our head dims before 2.13 and would not fit: use 2.14.1 or newer"
        add("problem", f"torch {facts.torch}", advice)
    if torch < (2, 14) and _is_first_or_second_generation(facts.chip):
        advice = "long matrix products read past their operands; sana-wm splits them, yet 2.14.1 or newer is safer"
        add("warning", f"torch {facts.torch} on {facts.chip}", advice)
    if macos[:2] == (26, 2) and torch >= (2, 14):
        advice = "3-D convolutions are wrong there; sana-wm decodes without them, yet update macOS to 26.3"
        add("warning", f"torch {facts.torch} on macOS {facts.system_version}", advice)
    if not findings:
        value = f"torch {facts.torch}, macOS {facts.system_version}, {facts.chip}"
        add("ok", value, "not known to be bad; `sana-wm doctor --numerics` checks the arithmetic itself")
    return findings


def _examine_surroundings(facts: Facts) -> list[Finding]:
    findings: list[Finding] = []
    free = f"{facts.free_disk_bytes / GIB:.1f} GiB free here"
    if facts.free_disk_bytes < RUN_DISK_BYTES:
        advice = f"{RUN_DISK_BYTES / GIB:.0f} GiB are safe: free some space, or set output_dir to another disk"
        findings.append(Finding("disk", free, "problem", advice))
    else:
        complete = facts.weights is not None and not facts.weights[1]
        advice = "nothing to do" if complete else "the weights take 101 GiB (108 GB) more if they shall lie here, too"
        findings.append(Finding("disk", free, "ok", advice))
    if facts.codecs is None:
        findings.append(Finding("ffmpeg", "missing", "problem", "imageio-ffmpeg is not installed: docs/install.md"))
    elif "libx264" not in facts.codecs:
        advice = "set video.codec to one of these, or install an ffmpeg with libx264"
        value = f"encodes {', '.join(facts.codecs) or 'nothing that we use'}"
        findings.append(Finding("ffmpeg", value, "warning", advice))
    else:
        findings.append(Finding("ffmpeg", f"encodes {', '.join(facts.codecs)}", "ok", "nothing to do"))
    findings.append(_examine_weights(facts.weights))
    if facts.system == "Darwin":
        findings.append(_examine_sleep(facts.idle_sleep_min))
    return findings


def _examine_weights(weights: tuple[str, tuple[str, ...]] | None) -> Finding:
    if weights is None:
        advice = (
            "`sana-wm weights download`, then set SANA_WM_MODEL_ROOT, or name a manifest: sana-wm doctor MANIFEST; "
            "what would fit, before the download: `sana-wm plan MANIFEST --without-weights`"
        )
        return Finding("weights", "nobody said where they are", "problem", advice)
    where, problems = weights
    if len(problems) > 0:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        advice = "`sana-wm weights list` says what is needed"
        said = problems[0] if problems[0].startswith(where) else f"{where}: {problems[0]}"
        return Finding("weights", f"{said}{more}", "problem", advice)
    advice = "`sana-wm weights verify` reads every byte; those of a manifest with --manifest MANIFEST"
    return Finding("weights", f"{where}: complete by their headers", "ok", advice)


def _examine_sleep(idle_sleep_min: int | None) -> Finding:
    if idle_sleep_min is None:
        return Finding("sleep", "cannot be read", "warning", "keep the Mac awake during a run: caffeinate -i sana-wm …")
    value = "never when idle" if idle_sleep_min == 0 else f"after {idle_sleep_min} idle minutes"
    advice = "a run keeps an idle Mac awake; a closed lid still puts it to sleep, and the run goes on afterwards"
    return Finding("sleep", value, "ok", advice)


def _examine_environment(environment: Mapping[str, str]) -> list[Finding]:
    return [
        Finding(name, environment[name], level, advice)
        for name, (level, advice) in MEANINGFUL_VARIABLES.items()
        if name in environment
    ]


def _is_first_or_second_generation(chip: str) -> bool:
    return any(chip.startswith(f"Apple {name}") for name in ("M1", "M2"))


def _version(text: str) -> tuple[int, ...]:
    """`2.14.1+cpu` -> (2, 14, 1)."""
    numbers: list[int] = []
    for part in text.split("+", maxsplit=1)[0].split("."):
        digits = part[: next((index for index, char in enumerate(part) if not char.isdigit()), len(part))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
