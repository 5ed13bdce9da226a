#!/usr/bin/env python3
"""Counts zones and lines of a run's records once more, with PyPI's `supervision`: compare-supervision.py RECORDS ZONES.toml

RECORDS are the JSON Lines of a run with sightings, ZONES.toml holds its [[zone]] and [[line]] tables. The same boxes, frame by
frame, go through PolygonZone and LineZone; each sighting is one tracker id there, whatever ids it had. Prints a JSON object: for
every zone [entries in the records, entries by supervision], for every line the same for left and right.

`in` of a LineZone is `left` here. Where both differ:

- PolygonZone paints its polygon into a mask: corners and points are on whole pixels there. A point within a pixel of the edge may be
  inside for one and outside for the other.
- LineZone passes over frames on which the point is not between the two lines at right angles to the line through its ends; here
  the way between two points must cut the line. Who passes an end of a line at a slant may cross for one and not for the other.
- LineZone forgets the side of what is missing for more frames than confirm; here a sighting keeps it.
"""
import json
import sys
import tomllib
import warnings

warnings.filterwarnings("ignore")
import numpy as np  # noqa: E402
import supervision as sv  # noqa: E402

CONFIRM = 3
ANCHORS = {
    "bottom": sv.Position.BOTTOM_CENTER,
    "centre": sv.Position.CENTER,
    "top": sv.Position.TOP_CENTER,
}


class Entries:
    """What PolygonZone says frame by frame, counted once so many frames in a row say so."""

    def __init__(self, zone, confirm):
        self.zone, self.confirm, self.inside, self.streak, self.count = zone, confirm, {}, {}, 0

    def see(self, detections):
        for key, inside in zip(detections.tracker_id, self.zone.trigger(detections)):
            if bool(inside) == self.inside.get(key, False):
                self.streak[key] = 0
                continue
            self.streak[key] = self.streak.get(key, 0) + 1
            if self.streak[key] == self.confirm:
                self.inside[key], self.streak[key] = bool(inside), 0
                self.count += bool(inside)


def main(records, settings):
    with open(settings, "rb") as file:
        settings = tomllib.load(file)
    with open(records, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    frames = [line for line in lines if line["schema"].startswith("spotter.frame/")]
    events = [line for line in lines if line["schema"].startswith("spotter.event/")]
    size = frames[0]["resolution"]
    # The first and the last frame of every sighting, and its ids.
    stays = {}
    for event in events:
        if event["event"].startswith("sighting_") and "sighting" in event:
            stays[event["sighting"]["id"]] = event["sighting"]
    pixels = lambda points: [(x * size["width"], y * size["height"]) for x, y in points]
    zones, crossed = {}, {}
    for zone in settings.get("zone", []):
        polygon = np.rint(np.array(pixels(zone["points"]))).astype(int)
        anchor = [ANCHORS[zone.get("anchor", "bottom")]]
        zones[zone["name"]] = Entries(sv.PolygonZone(polygon, anchor), zone.get("confirm", CONFIRM))
    for line in settings.get("line", []):
        start, end = (sv.Point(*point) for point in pixels(line["points"]))
        anchor = [ANCHORS[line.get("anchor", "bottom")]]
        crossed[line["name"]] = sv.LineZone(start, end, anchor, line.get("confirm", CONFIRM))
    for frame in frames:
        boxes, keys = [], []
        for thing in frame["objects"]:
            for key, stay in enumerate(stays.values()):
                during = stay["start_pts_ns"] <= frame["pts_ns"] <= stay["last_pts_ns"]
                if thing["measured"] and during and thing["query"] == stay["query"] and thing["id"] in stay["objects"]:
                    box = thing["box"]
                    boxes.append([box["x"], box["y"], box["x"] + box["w"], box["y"] + box["h"]])
                    keys.append(key)
                    break
        if not boxes:
            continue
        detections = sv.Detections(xyxy=np.array(boxes), tracker_id=np.array(keys))
        for entries in zones.values():
            entries.see(detections)
        for line in crossed.values():
            line.trigger(detections)
    told = lambda kind, **wanted: sum(
        event["event"] == kind and all(event[key] == value for key, value in wanted.items()) for event in events
    )
    report = {"zones": {}, "lines": {}}
    for name, entries in zones.items():
        report["zones"][name] = [told("zone_enter", zone=name), entries.count]
    for name, line in crossed.items():
        report["lines"][name] = {
            "left": [told("line_cross", line=name, direction="left"), line.in_count],
            "right": [told("line_cross", line=name, direction="right"), line.out_count],
        }
    print(json.dumps(report))


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(*sys.argv[1:])
