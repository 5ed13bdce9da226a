"""Grounding DINO in other engines, for benches/frame: Hugging Face's `transformers` as it is (PyTorch, eager), and the same
model as a graph in ONNX Runtime or OpenVINO.

    PYTHONPATH=PACKAGES python3 peer.py ENGINE MODEL INPUT THREADS CACHE

INPUT holds `pixel_values [1, 3, H, W]` and `input_ids [1, L]`. Says that it is ready in a line of JSON; then for each line
that it reads it grounds the picture, and answers with a line: milliseconds, and of the box that scores best its logits'
maximum over the text's tokens and `(cx, cy, w, h)`.
"""

import json
import os
import sys
import time
from pathlib import Path

ENGINE, MODEL, INPUT, THREADS, CACHE = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5])
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import numpy  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

NAMES = ["pixel_values", "input_ids", "token_type_ids", "attention_mask", "pixel_mask"]


def inputs():
    given = load_file(INPUT)
    pixels, ids = given["pixel_values"], given["input_ids"].long()
    return [pixels, ids, torch.zeros_like(ids), torch.ones_like(ids), torch.ones(pixels[:, 0].shape, dtype=torch.long)]


class Answer(torch.nn.Module):
    """What is compared, of all that comes out."""

    def __init__(self):
        super().__init__()
        from transformers import AutoModelForZeroShotObjectDetection

        self.model, found = AutoModelForZeroShotObjectDetection.from_pretrained(
            MODEL, dtype=torch.float32, output_loading_info=True
        )
        # Heads are shared, and the pooler is read by nothing.
        unread = ("pooler", "decoder.bbox_embed", "decoder.class_embed", "bbox_embed.", "relative_position_index")
        missing = [name for name in found["missing_keys"] if not any(part in name for part in unread)]
        assert not missing and not found["unexpected_keys"], (missing[:5], list(found["unexpected_keys"])[:5])
        self.eval()

    def forward(self, pixel_values, input_ids, token_type_ids, attention_mask, pixel_mask):
        out = self.model(
            pixel_values=pixel_values, input_ids=input_ids, token_type_ids=token_type_ids,
            attention_mask=attention_mask, pixel_mask=pixel_mask, return_dict=True,
        )
        return out.logits, out.pred_boxes


def eager():
    torch.set_num_threads(THREADS)
    model, given = Answer(), inputs()

    def call():
        with torch.inference_mode():
            return [tensor.numpy() for tensor in model(*given)]

    return call


def graph():
    """The model as ONNX, for inputs of this size."""
    given = inputs()
    height, width = given[0].shape[2:]
    path = CACHE / f"{MODEL.name}-{width}x{height}-{given[1].shape[1]}.onnx"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        staged = CACHE / f".{path.name}.{os.getpid()}"
        with torch.inference_mode():
            fold_masks(given[1])
            torch.onnx.export(
                Answer(), tuple(given), staged, input_names=NAMES, output_names=["logits", "boxes"], opset_version=17,
                dynamo=False,
            )
        in_single(staged)
        staged.rename(path)
    return path


def fold_masks(ids):
    """Which tokens belong together, as constants: ONNX has no operation for how it is found, and it is the text's alone."""
    from transformers.models.grounding_dino import modeling_grounding_dino as library

    name = "generate_masks_with_special_tokens_and_transfer_map"
    made = getattr(library, name)(ids, special_tokens=torch.tensor(library.SPECIAL_TOKENS))
    setattr(library, name, lambda *_, **__: made)


def in_single(path):
    """The exporter writes what follows from sizes in double precision, which ONNX Runtime's GridSample does not take."""
    import onnx
    from onnx import numpy_helper

    def single(tensor):
        if tensor.data_type == onnx.TensorProto.DOUBLE:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(numpy.float32), tensor.name))

    model = onnx.load(path)
    for tensor in model.graph.initializer:
        single(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                single(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.DOUBLE:
                attribute.i = onnx.TensorProto.FLOAT
    del model.graph.value_info[:]
    onnx.save(model, path)


def onnxruntime():
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    session = ort.InferenceSession(graph(), options, providers=["CPUExecutionProvider"])
    asked = {item.name for item in session.get_inputs()}
    given = {name: tensor.numpy() for name, tensor in zip(NAMES, inputs()) if name in asked}
    return lambda: session.run(["logits", "boxes"], given)


def openvino():
    import openvino as ov

    core = ov.Core()
    hints = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(graph()), "CPU", hints)
    asked = {name for item in compiled.inputs for name in item.get_names()}
    request, given = compiled.create_infer_request(), {
        name: tensor.numpy() for name, tensor in zip(NAMES, inputs()) if name in asked
    }

    def call():
        found = request.infer(given)
        return [found["logits"], found["boxes"]]

    return call


def main():
    # Libraries that print must not print among the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    length = inputs()[1].shape[1]
    call = {"transformers": eager, "onnxruntime": onnxruntime, "openvino": openvino}[ENGINE]()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        logits, boxes = call()
        spent = (time.perf_counter() - start) * 1e3
        # Behind the text's tokens there is nothing; framing and full stops are no words.
        scores = logits[0, :, 1 : length - 2].max(-1)
        best = int(numpy.argmax(scores))
        answer = {"ms": spent, "logit": float(scores[best]), "box": boxes[0, best].astype(float).tolist()}
        print(json.dumps(answer), file=answers, flush=True)


main()
