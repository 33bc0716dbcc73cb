"""What the options that make a model cheaper cost and save, on a ViT-B/16 of random weights, one thread.

    python -m tests.encoders.measure_slimming [--compile]

CPU seconds of this process, not the clock's: other work on the machine counts little. The variants take turns, the best
of their turns counts. Cosines are to the vectors in fp32, the worst of the batch.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from mmstream.encoders.vision import PretrainedVisionEncoder
from tests.encoders.tiny import cosines

NUM_PICTURES = 8
NUM_TURNS = 3
VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "int8": {"precision": "int8"},
    "keep_layers 9": {"keep_layers": 9},
    "keep_layers 6": {"keep_layers": 6},
    "keep_layers 6, int8": {"keep_layers": 6, "precision": "int8"},
}


def main() -> None:
    torch.set_num_threads(1)
    variants = VARIANTS | ({"compile": {"compile": True}} if "--compile" in sys.argv else {})
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        transformers.ViTModel(transformers.ViTConfig()).save_pretrained(folder)
        transformers.ViTImageProcessor().save_pretrained(folder)
        encoders = {name: build(Path(folder), options) for name, options in variants.items()}
    pictures = np.random.default_rng(0).integers(0, 256, (NUM_PICTURES, 224, 224, 3), dtype=np.uint8)
    best_s = dict.fromkeys(encoders, float("inf"))
    vectors = {}
    for _ in range(NUM_TURNS):
        for name, encoder in encoders.items():
            started_s = time.process_time()
            vectors[name] = encoder.encode(pictures)
            best_s[name] = min(best_s[name], time.process_time() - started_s)
    for name, seconds in best_s.items():
        worst = min(cosines(vectors[name], vectors["fp32"]))
        per_picture_ms = seconds / NUM_PICTURES * 1e3
        share = seconds / best_s["fp32"]
        print(f"{name:20} {per_picture_ms:7.1f} ms of CPU per picture, {share:.2f} of fp32, cosine {worst:.4f}")  # noqa: T201


def build(folder: Path, options: dict[str, Any]) -> PretrainedVisionEncoder:
    started_s = time.process_time()
    encoder = PretrainedVisionEncoder(folder=str(folder), device="cpu", **{"precision": "fp32", **options})
    print(f"{encoder.model}: loaded in {time.process_time() - started_s:.1f} s of CPU", flush=True)  # noqa: T201
    return encoder


if __name__ == "__main__":
    main()
