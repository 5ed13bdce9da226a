"""Holds discovery messages to Home Assistant's own schemas: a JSON object a line, with topic and config, on standard input.
Prints how many of each component there were."""

import collections
import importlib
import json
import sys

counts = collections.Counter()
for line in sys.stdin:
    message = json.loads(line)
    prefix, component, node, entity, end = message["topic"].split("/")
    assert (prefix, end) == ("homeassistant", "config"), message["topic"]
    platform = importlib.import_module(f"homeassistant.components.mqtt.{component}")
    checked = platform.DISCOVERY_SCHEMA(dict(message["config"]))
    # Keys that it does not know it drops without a word.
    dropped = set(message["config"]) - set(map(str, checked))
    assert not dropped, f"{message['topic']}: {dropped}"
    counts[component] += 1
print(json.dumps(counts))
