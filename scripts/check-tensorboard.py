#!/usr/bin/env python3
"""Reads a run's folder with TensorBoard's own reader and prints what it finds as JSON.

    PYTHONPATH=$(scripts/fetch-pip.sh tensorboard tensorboard==2.20.0) python3 scripts/check-tensorboard.py FOLDER

Output: {"TAG": [[step, value], ...], ...}. A damaged event file is an error.
"""

import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub import errors, pywrap_tensorflow


def main(folder: str) -> None:
    # The accumulator stops at a damaged record without a word; the record reader below it raises.
    files = sorted(pathlib.Path(folder).glob("events.out.tfevents.*"))
    if not files:
        sys.exit(f"{folder}: holds no event file")
    for file in files:
        reader = pywrap_tensorflow.PyRecordReader_New(str(file))
        while True:
            try:
                reader.GetNext()
            except errors.OutOfRangeError:
                break
    events = EventAccumulator(folder, size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    json.dump({tag: [[event.step, event.value] for event in events.Scalars(tag)] for tag in tags}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
