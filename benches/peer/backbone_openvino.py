"""Golden numbers of the published backbone: the detector's own graph, run by OpenVINO's TensorFlow reader.

    export PYTHONPATH=$(scripts/fetch-pip.sh golden openvino==2026.4.1 numpy==2.4.6):scripts
    python3 benches/peer/backbone_openvino.py > crates/qrnet/tests/fixtures/mobilenet/published.json

The picture is 512x512, drawn by a formula. Values are of the maps' upper left part, which neither border reaches where
the detector pads with mid-grey and Spotter with the mean colour.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from pathlib import Path

import numpy as np
import openvino as ov
from openvino.frontend import FrontEndManager

SIDE, SAMPLES = 512, 160
STAGES = [2, 5, 12, 16]  # their last blocks
STRIDES = [4, 8, 16, 32]
INSIDE = 192  # pixels from the upper left corner, of which no value looks further than to the picture's edge


def picture() -> np.ndarray:
    """Stripes, a ramp and a grid, other ones in each channel; whole numbers, 0 to 255."""
    y, x, c = np.meshgrid(np.arange(SIDE), np.arange(SIDE), np.arange(3), indexing="ij")
    return ((x * (c + 2) + y * (5 - c)) // 3 + 60 * ((x // 16 + y // (12 + c)) % 3) + (x * y) // 97) % 256


def places(stage: int, channels: int) -> list[tuple[int, int, int]]:
    """Row, column, channel of every sample."""
    cells = INSIDE // STRIDES[stage]
    return [(i * 5 % cells, i * 7 // 3 % cells, i * 37 % channels) for i in range(SAMPLES)]


def main() -> None:
    graph = importlib.import_module("convert-backbone").fetched()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.pb"
        path.write_bytes(graph)
        frontend = FrontEndManager().load_by_framework("tf")
        read = frontend.load(str(path))
        root = "FeatureExtractor/MobilenetV2"
        start = read.get_place_by_tensor_name(f"{root}/MobilenetV2/input:0")
        read.override_all_inputs([start])
        read.override_all_outputs([read.get_place_by_tensor_name(f"{root}/expanded_conv_{block}/output:0") for block in STAGES])
        model = frontend.convert(read)
    for parameter in model.get_parameters():  # the detector's own input stays, cut off
        if start.get_names()[0] not in parameter.output(0).names:
            model.remove_parameter(parameter)
    model.reshape([1, SIDE, SIDE, 3])
    run = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = run((picture() / 127.5 - 1)[None].astype(np.float32))
    stages = []
    for stage in range(len(STAGES)):
        values = found[stage][0]
        samples = [float(f"{values[place]:.7g}") for place in places(stage, values.shape[2])]
        stages.append({"largest": float(np.abs(values).max()), "samples": samples})
    made_by = json.dumps(f"benches/peer/backbone_openvino.py, OpenVINO {ov.__version__.split('-')[0]}")
    lines = ",\n".join(f"  {json.dumps(stage)}" for stage in stages)
    print(f'{{\n "made_by": {made_by},\n "stages": [\n{lines}\n ]\n}}')


main()
