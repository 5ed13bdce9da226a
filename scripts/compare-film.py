#!/usr/bin/env python3
"""Compares records with the truth of drawn films: compare-film.py TRUTH RECORDS [TRUTH RECORDS ...].

TRUTH is film.jsonl as `spotter train --film` writes it, RECORDS the JSON Lines of a run over that film. A frame is right
where the box overlaps the true one by half or more; frames in which the thing is hidden in part are not counted.
"""
import json
import sys


def overlap(a, b):
    w = min(a["x"] + a["w"], b["x"] + b["w"]) - max(a["x"], b["x"])
    h = min(a["y"] + a["h"], b["y"] + b["h"]) - max(a["y"], b["y"])
    both = max(w, 0) * max(h, 0)
    return both / (a["w"] * a["h"] + b["w"] * b["h"] - both)


def read(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def compare(truth_file, records_file):
    said = [record for record in read(records_file) if record["schema"] == "spotter.frame/2"]
    query = said[0]["queries"][0]["text"]
    truth = [line for line in read(truth_file) if line["phrase"] == query]
    if len(truth) != len(said):
        sys.exit(f"{records_file}: {len(said)} records, {truth_file} has {len(truth)} frames about {query!r}")
    here = [any(overlap(t["box"], o["box"]) >= 0.5 for o in r["objects"][:1]) for t, r in zip(truth, said) if t["box"]]
    gone = [r["queries"][0]["status"] == "absent" for t, r in zip(truth, said) if t["clear"] and not t["box"]]
    return query, here, gone, len(said) - len(here) - len(gone)


def say(query, here, gone, unclear):
    print(f"query     {query}")
    print(f"found     right on {sum(here)} of {len(here)} frames where it is there")
    if gone:
        print(f"absent    said so on {sum(gone)} of {len(gone)} frames where it is not")
    if unclear:
        print(f"left out  {unclear} frames where it is hidden in part")


pairs = list(zip(sys.argv[1::2], sys.argv[2::2]))
if not pairs:
    sys.exit(__doc__)
everything, left_out = ([], []), 0
for truth_file, records_file in pairs:
    query, here, gone, unclear = compare(truth_file, records_file)
    say(query, here, gone, unclear)
    print(f"records   {records_file}\n")
    everything[0].extend(here)
    everything[1].extend(gone)
    left_out += unclear
if len(pairs) > 2:
    say(f"all {len(pairs)}", *everything, left_out)
