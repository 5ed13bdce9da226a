"""One peer engine as a process of its own: grounds a frame for every line that it is sent.

    python benches/peer/serve.py ENGINE MODEL_DIR INPUT.safetensors THREADS [CACHE_DIR [cpu|cuda]]

ENGINE is torch, torch-compile, onnxruntime, openvino, or in bytes onnxruntime-dynamic (scales of activations by run),
onnxruntime-int8 and openvino-int8 (both read a graph with scales that were calibrated on INPUT's own frames).

MODEL_DIR is one of Spotter's (config.json, model.safetensors): the peers read the same weights by the reference's names.
INPUT holds `image [B,3,H,W]` f32, `image_mask [B,H,W]`, `ids [B,L]` and `token_mask [B,L]` (1 = real). The first answer is
`{"ready": seconds}`; then for every line on standard input `{"ms": time, "box": [[cx, cy, w, h], …]}`. The ONNX graph is
exported once into CACHE_DIR. The whole call is timed, text tower and generators included: these engines have no fixed query.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Callable

ENGINE, MODEL, INPUT, THREADS = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
CACHE = Path(sys.argv[5]) if len(sys.argv) > 5 else None
DEVICE = sys.argv[6] if len(sys.argv) > 6 else "cpu"
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(THREADS)

import numpy  # noqa: E402  (threads are set before)
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from qrnet_torch import Config, QRNet  # noqa: E402

NAMES = ["image", "image_mask", "ids", "token_mask"]
Arrays = dict[str, numpy.ndarray]
# In the reference's checkpoints, but read by no forward pass; and what follows from the sizes.
UNUSED, DERIVED = ("visumodel.rpn_head.", "textmodel.bert.pooler."), (".relative_position_index",)
# Spotter's own.
OURS = ("presence_embed.",)


def sizes(c: Config) -> Config:
    """A config.json of Spotter's in the layout of qrnet_torch."""
    width, side = c["bert"]["hidden_size"], c["canvas"]["width"]
    assert c["canvas"]["height"] == side, "the reference knows squares only"
    common = {
        "imsize": side,
        "max_query_len": c["max_query_len"],
        "qdatt": {**c["qdatt"], "use_spatial": True, "use_channel": True, "pool": ["avg", "max"]},
        "bert": {**c["bert"], "hidden_act": "gelu"},
        "vl": {**c["vl"], "activation": "relu", "normalize_before": False},
    }
    if "mobilenet" in c:
        return {**common, "mobilenet": c["mobilenet"], "neck": c["neck"]}
    channels = [c["swin"]["embed_dim"] << stage for stage in range(len(c["swin"]["depths"]))]
    return {
        **common,
        "swin": {**c["swin"], "in_chans": 3, "qkv_bias": True, "patch_norm": True, "ape": False, "mu_dim": width},
        "neck": {**c["neck"], "in_channels": channels, "num_outs": 5, "mu_dim": width},
    }


def load() -> QRNet:
    """The model, its weights read by name: nothing that counts may be missing or left over."""
    model = QRNet(sizes(json.loads((MODEL / "config.json").read_text()))).eval()
    found = {name: tensor.float() for name, tensor in load_file(MODEL / "model.safetensors").items()}
    missing, unknown = model.load_state_dict(found, strict=False)
    missing = [name for name in missing if not name.startswith(UNUSED) and not name.endswith(DERIVED)]
    unknown = [name for name in unknown if not name.startswith(OURS)]
    assert not missing and not unknown, f"missing {missing[:5]}, unknown {unknown[:5]}"
    return model


def tensors(arrays: Arrays) -> list[torch.Tensor]:
    return [torch.from_numpy(arrays[name]) for name in NAMES]


def eager(arrays: Arrays, compiled: bool = False) -> Callable[[], numpy.ndarray]:
    torch.set_num_threads(THREADS)
    model, inputs = load().to(DEVICE), [tensor.to(DEVICE) for tensor in tensors(arrays)]
    if compiled:
        model = torch.compile(model, mode="max-autotune")

    def call() -> numpy.ndarray:
        with torch.inference_mode():
            # The copy waits for the GPU.
            return model(*inputs).cpu().numpy()

    return call


def graph(arrays: Arrays) -> Path:
    """The model as ONNX, for inputs of this size."""
    assert CACHE is not None, "engines that read ONNX need a folder for it"
    digest, batch = json.loads((MODEL / "config.json").read_text())["digest"], len(arrays["image"])
    path = CACHE / f"{digest}-{batch}.onnx"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        staged = CACHE / f".{path.name}.{os.getpid()}"
        with torch.inference_mode():
            torch.onnx.export(load(), tuple(tensors(arrays)), staged, input_names=NAMES, output_names=["box"],
                              opset_version=17, dynamo=False)
        staged.rename(path)
    return path


def quantized(arrays: Arrays, calibrated: bool) -> Path:
    """The graph with products and convolutions in bytes, weights by output channel."""
    from onnxruntime import quantization as q

    exact = graph(arrays)
    path = exact.with_suffix(".int8.onnx" if calibrated else ".dynamic.onnx")
    if path.exists():
        return path
    staged, ready = path.with_name(f".{path.name}.{os.getpid()}"), exact.with_suffix(".ready.onnx")
    q.quant_pre_process(str(exact), str(ready), skip_symbolic_shape=True)
    if calibrated:
        class Frames(q.CalibrationDataReader):
            def __init__(self) -> None:
                self.left = [{name: arrays[name] for name in asked(ready)}]

            def get_next(self) -> Arrays | None:
                return self.left.pop() if self.left else None

        # Activations with an offset and weights without: what both engines have the fastest kernels for.
        q.quantize_static(str(ready), str(staged), Frames(), quant_format=q.QuantFormat.QDQ, per_channel=True,
                          op_types_to_quantize=["MatMul", "Gemm", "Conv"], activation_type=q.QuantType.QUInt8,
                          weight_type=q.QuantType.QInt8)
    else:
        q.quantize_dynamic(str(ready), str(staged), per_channel=True, weight_type=q.QuantType.QInt8,
                           op_types_to_quantize=["MatMul", "Gemm"])
    staged.rename(path)
    ready.unlink()
    return path


def asked(path: Path) -> list[str]:
    """Inputs of a graph: what it does not read was left out of it."""
    import onnx

    return [item.name for item in onnx.load(path, load_external_data=False).graph.input]


def onnxruntime(arrays: Arrays, read: Callable[[Arrays], Path] = graph) -> Callable[[], numpy.ndarray]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    session = ort.InferenceSession(read(arrays), options, providers=["CPUExecutionProvider"])
    wanted = {item.name for item in session.get_inputs()}
    inputs = {name: array for name, array in arrays.items() if name in wanted}
    return lambda: session.run(["box"], inputs)[0]


def openvino(arrays: Arrays, read: Callable[[Arrays], Path] = graph) -> Callable[[], numpy.ndarray]:
    import openvino as ov

    core = ov.Core()
    hints = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(read(arrays)), "CPU", hints)
    wanted = {name for item in compiled.inputs for name in item.get_names()}
    request, inputs = compiled.create_infer_request(), {name: array for name, array in arrays.items() if name in wanted}
    return lambda: next(iter(request.infer(inputs).values()))


def main() -> None:
    start = time.perf_counter()
    # Libraries that print must not print among the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    arrays = {name: tensor.numpy() for name, tensor in load_file(INPUT).items()}
    assert DEVICE == "cpu" or ENGINE.startswith("torch"), f"{ENGINE} is set up for the CPU only"
    calibrated, by_run = partial(quantized, calibrated=True), partial(quantized, calibrated=False)
    engines = {
        "torch": eager,
        "torch-compile": partial(eager, compiled=True),
        "onnxruntime": onnxruntime,
        "onnxruntime-dynamic": partial(onnxruntime, read=by_run),
        "onnxruntime-int8": partial(onnxruntime, read=calibrated),
        "openvino": openvino,
        "openvino-int8": partial(openvino, read=calibrated),
    }
    call = engines[ENGINE](arrays)
    print(json.dumps({"ready": time.perf_counter() - start}), file=answers, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        box = call()
        spent = (time.perf_counter() - start) * 1e3
        print(json.dumps({"ms": spent, "box": numpy.asarray(box, dtype=float).tolist()}), file=answers, flush=True)


main()
