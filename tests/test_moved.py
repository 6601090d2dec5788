"""The house was rebuilt and nothing else: short runs end in the weights that the code before the move gave.

The numbers were taken at commit b7b62b7, before any module moved. On the kind of processor and the torch
that they were taken with, the bits are the same; elsewhere, where rounding may tip a draw in the end, the
first step is compared.
"""

import hashlib

import pytest
import torch

from tests.small_training import CASES, IMITATIONS, case

RECORDED_ON = (
    "aes amx_bf16 amx_int8 amx_tile avx avx10_1 avx2 avx512_bf16 avx512_bitalg avx512_bw "
    "avx512_cd avx512_dq avx512_f avx512_fp16 avx512_ifma avx512_vbmi avx512_vbmi2 "
    "avx512_vl avx512_vnni avx512_vpopcntdq avx_vnni bmi bmi2 clflush clflushopt clwb f16c "
    "fma3 lzcnt popcnt sha sse sse2 sse3 sse4_1 sse4_2 ssse3",
    "2.13.0+cpu",
)
# Run: digest of all trained weights in the end; after the first step its loss and number 7 of six weights.
BEFORE = {
    "mrt_exact": (
        "77c6a6627db4389a",
        0.11134086549282074,
        [-0.03923346, -0.00999942, -0.06898151, 0.00999883, -0.05626618, 0.00994125],
    ),
    "mrt_offline": ("9df2dd631398fdb1", 0.0, [-0.03923346, 0.0, -0.06898151, 0.0, -0.05626618, 0.0]),
    "mrt_online": (
        "bb111843a4629e1d",
        -0.0021287326235324144,
        [-0.04666853, 0.00370562, -0.06155286, 0.01187354, -0.06370395, 0.01616608],
    ),
    "grpo_full": (
        "51d1691f4c8c72de",
        0.0,
        [0.07890657, 0.69712508, 0.01667028, 0.06030202, -0.05061696, 0.83459717],
    ),
    "star": (
        "69c1b165e7bf9148",
        0.43559829890727997,
        [-0.02432513, -0.00378895, -0.05417577, 0.00333158, -0.04647554, 0.00053888],
    ),
    "mrt_star_rank": (
        "682d5d16705f59d7",
        0.43559829890727997,
        [-0.02432513, -0.00378895, -0.05417577, 0.00333158, -0.04647554, 0.00053888],
    ),
    "mrt_star_cut": (
        "be598cd0921df7f8",
        0.34249113872647285,
        [-0.02353269, 0.00096028, -0.05920364, -0.00885194, -0.04995764, -0.00488345],
    ),
}


def here():
    """What the processor can do, and torch's version."""
    able = sorted(name for name, has in torch.cpu.get_capabilities().items() if has is True)
    return " ".join(able), torch.__version__


@pytest.mark.parametrize("name", [*CASES, *IMITATIONS])
def test_a_short_run_ends_in_the_weights_from_before_the_move(name):
    digest, loss, numbers = BEFORE[name]
    trainer = case(name)
    row = trainer.step()
    assert row["loss"] == pytest.approx(loss, abs=1e-5)
    found = [float(weight.flatten()[7]) for weight in weights(trainer)[:6]]
    assert found == pytest.approx(numbers, abs=1e-5)
    if here() == RECORDED_ON:
        while len(trainer.log) < trainer.config.steps:
            trainer.step()
        joined = b"".join(weight.numpy().tobytes() for weight in weights(trainer))
        assert hashlib.sha256(joined).hexdigest()[:16] == digest


def weights(trainer):
    return [p.detach() for _, p in sorted(trainer.learner.trained().items())]
