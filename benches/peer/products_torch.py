"""Products of matrices by MKL and by oneDNN, through PyTorch, for `cargo bench -p spotter-blocks --bench products`.

    python benches/peer/products_torch.py THREADS

For every line `ROWS INPUTS OUTPUTS CALLS` on standard input, one line: seconds of a call as MKL's plain product, as
PyTorch's Linear, and by oneDNN with a weight that it has packed before.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Callable

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = sys.argv[1]

import torch  # noqa: E402  (threads are set before)

Way = Callable[[], object]


def ways(rows: int, inputs: int, outputs: int) -> list[Way]:
    x, weight, bias = torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    right, out = weight.t().contiguous(), torch.empty(rows, outputs)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return [
        lambda: torch.mm(x, right, out=out),
        lambda: torch.nn.functional.linear(x, weight, bias),
        lambda: torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], ""),
    ]


def seconds(way: Way, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        way()
    return (time.perf_counter() - start) / calls


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]))
    torch.set_grad_enabled(False)
    known: dict[tuple[int, ...], list[Way]] = {}
    for line in sys.stdin:
        *shape, calls = (int(word) for word in line.split())
        if tuple(shape) not in known:
            known = {tuple(shape): ways(*shape)}
        print(*(seconds(way, calls) for way in known[tuple(shape)]), flush=True)


main()
