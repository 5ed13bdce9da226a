"""A stock MQTT client: mqtt_client.py PORT CLIENT-ID TOPIC... subscribes, and prints a JSON object for every message. What it
reads are JSON objects, too: messages to publish. It comes back when the broker does, and misses nothing meanwhile. MQTT_LOGIN is
user:password, where it has to say who it is."""

import base64
import json
import os
import sys
import threading

import paho.mqtt.client as mqtt

port, name, topics = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
if "MQTT_LOGIN" in os.environ:
    client.username_pw_set(*os.environ["MQTT_LOGIN"].split(":", 1))
client.reconnect_delay_set(min_delay=1, max_delay=1)


def say(line):
    print(json.dumps(line), flush=True)


def connected(client, userdata, flags, reason, properties):
    client.subscribe([(topic, 1) for topic in topics])


def subscribed(client, userdata, number, reasons, properties):
    say({"subscribed": True})


def message(client, userdata, message):
    payload = base64.b64encode(message.payload).decode()
    say({"topic": message.topic, "retain": message.retain, "payload": payload})


def publish():
    for line in sys.stdin:
        wanted = json.loads(line)
        client.publish(wanted["topic"], wanted["payload"], qos=1, retain=wanted.get("retain", False))
    client.disconnect()


client.on_connect, client.on_subscribe, client.on_message = connected, subscribed, message
client.connect("127.0.0.1", port)
threading.Thread(target=publish, daemon=True).start()
client.loop_forever(retry_first_connection=True)
