"""Reads record files with the tools of their fields, and prints what they say, a JSON object a line and thing:
read_formats.py FORMAT FILE. The frame counts from 0, the time is in milliseconds, boxes are x, y, width, height."""

import json
import sys
import warnings

kind, path = sys.argv[1:]


def say(frame, time, box, **more):
    print(json.dumps({"frame": int(frame), "ms": time, "box": [float(v) for v in box], **more}))


if kind == "mot":
    import motmetrics

    for (frame, track), row in motmetrics.io.loadtxt(path, fmt="mot15-2D", min_confidence=-1).iterrows():
        say(frame - 1, None, [row.X, row.Y, row.Width, row.Height], id=int(track), score=row.Confidence)
elif kind == "coco":
    import contextlib
    import io

    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(path)
    for image in coco.loadImgs(sorted(coco.getImgIds())):
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])):
            (category,) = coco.loadCats(annotation["category_id"])
            score = annotation.get("score")
            time, track = image["pts_ns"] // 1_000_000, annotation["track_id"]
            say(image["frame_index"], time, annotation["bbox"], id=track, label=category["name"], score=score)
elif kind == "vtt":
    import webvtt

    for cue in webvtt.read(path):
        start = cue.start_time
        time = ((start.hours * 60 + start.minutes) * 60 + start.seconds) * 1000 + start.milliseconds
        for thing in json.loads(cue.text)["objects"]:
            box = [thing["box"][side] for side in "xywh"]
            say(cue.identifier, time, box, id=thing["id"], label=thing["query"], score=thing.get("score"))
elif kind == "csv":
    import pandas

    for row in pandas.read_csv(path).itertuples():
        if pandas.notna(row.x):
            score = None if pandas.isna(row.score) else row.score
            box = [row.x, row.y, row.w, row.h]
            say(row.frame_index, row.pts_ns // 1_000_000, box, id=int(row.id), label=row.query, score=score)
elif kind == "dls":
    import pandas

    frames = pandas.read_json(path, lines=True)
    for number, row in enumerate(frames.itertuples()):
        for thing in row.objects:
            detection, size = thing["detection"], row.resolution
            corners = detection["bounding_box"]
            x, y = corners["x_min"] * size["width"], corners["y_min"] * size["height"]
            w, h = corners["x_max"] * size["width"] - x, corners["y_max"] * size["height"] - y
            score = detection.get("confidence")
            say(number, row.timestamp // 1_000_000, [x, y, w, h], id=thing["id"], label=detection["label"], score=score)
else:
    sys.exit(f"no such format: {kind}")
