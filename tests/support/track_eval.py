"""What TrackEval says of record files: track_eval.py FOLDER NAME=FRAMES…

FOLDER holds NAME.gt.txt, labels, and mot/NAME.txt, records, both of MOTChallenge; FRAMES is the length of the film. Its own reader
for that challenge takes both, so that nothing of its rules is written again here. Prints a JSON object a film, and one for all of
them `together`, as it combines the sequences of a challenge."""

import json
import sys

from trackeval.datasets import MotChallenge2DBox
from trackeval.metrics import CLEAR, HOTA, Identity

folder, lengths = sys.argv[1], dict(arg.split("=") for arg in sys.argv[2:])

quiet = {"PRINT_CONFIG": False}
films = MotChallenge2DBox(
    quiet
    | {
        "GT_FOLDER": folder,
        "GT_LOC_FORMAT": "{gt_folder}/{seq}.gt.txt",
        "TRACKERS_FOLDER": folder,
        "TRACKERS_TO_EVAL": ["mot"],
        "TRACKER_SUB_FOLDER": "",
        "SKIP_SPLIT_FOL": True,
        "SEQ_INFO": {name: int(frames) for name, frames in lengths.items()},
    }
)
metrics = [HOTA(), CLEAR(quiet), Identity(quiet)]


def say(name, results):
    hota, clear, identity = results
    # Over the thresholds of overlap, as its own tables have it.
    mean = {key: float(hota[of].mean()) for key, of in [("hota", "HOTA"), ("det_a", "DetA"), ("ass_a", "AssA")]}
    switches, mota, idf1 = int(clear["IDSW"]), float(clear["MOTA"]), float(identity["IDF1"])
    print(json.dumps({"film": name, **mean, "idf1": idf1, "mota": mota, "id_switches": switches}))


every = [{} for _ in metrics]
for name in lengths:
    data = films.get_preprocessed_seq_data(films.get_raw_seq_data("mot", name), "pedestrian")
    results = [metric.eval_sequence(data) for metric in metrics]
    say(name, results)
    for known, result in zip(every, results):
        known[name] = result
say("together", [metric.combine_sequences(known) for metric, known in zip(metrics, every)])
