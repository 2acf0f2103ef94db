"""A fold beside transformers.Trainer's, in both styles of `benchmarks.trainer`, in turns on this device."""

from benchmarks.gpu.demo import open_demo
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from benchmarks.trainer import Bench, Case, measure

ROUNDS = 2
SPEEDUPS = {
    "fold_speedup_vs_retrospective": "as in 2021 (padded to 128 tokens, TF32, an evaluation every 25 steps)",
    "fold_speedup_same_evaluations": "the same, with no more evaluations than ours",
    "fold_speedup_vs_tuned": "at its best (rows of one length together, fused AdamW)",
}


def run(setting: Setting, report: Report) -> None:
    data = open_demo(setting)
    share = setting.choose(1, 16)
    case = Case(
        "base",
        batch_size=setting.choose(32, 8),
        lr=setting.learning_rate,
        epochs=setting.choose(4, 1),
        share=share,
        every=25,
    )
    rounds = setting.choose(ROUNDS, 1)
    found = measure(Bench(data, case, setting.folder, setting.device), rounds)
    rows = [
        [name, f"{found['seconds'][name]:.2f}", str(found["rows_per_second"][name]), str(found["evaluations"][name]),
         f"{found['accuracy'][name]:.3f}"]
        for name in found["evaluations"]
    ]  # fmt: skip
    report.table(["fold", "seconds", "rows/s", "evaluations", "last accuracy"], rows)
    for name, title in SPEEDUPS.items():
        low, high = found["spread"][name]
        report.figure(f"Trainer's time over ours, {title}", f"{found[name]:.2f} ({low:.2f} to {high:.2f})")
    report.figure("Trainer at its best ran in", found["tuned_style"])
    report.figure(
        "our step over a bare step", f"{found['step_over_bare_step']:.2f}, quartiles {found['step_quartiles']}"
    )
