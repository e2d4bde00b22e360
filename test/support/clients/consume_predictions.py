"""Prints predictions as they come: python consume_predictions.py flights.predictions"""

import io, json, os, sys, urllib.request
from confluent_kafka import Consumer
from fastavro import schemaless_reader

registry = os.environ.get("SCHEMA_REGISTRY_URL", "http://127.0.0.1:8081/apis/ccompat/v7")
brokers = os.environ.get("KAFKA_BROKERS", "127.0.0.1:9092")
consumer = Consumer({"bootstrap.servers": brokers, "group.id": "my-reader", "auto.offset.reset": "earliest"})
consumer.subscribe([sys.argv[1]])
schemas = {}
while True:
    message = consumer.poll(1.0)
    if message is None or message.error():
        continue
    schema_id = int.from_bytes(message.value()[1:5], "big")
    if schema_id not in schemas:
        schemas[schema_id] = json.loads(json.load(urllib.request.urlopen(f"{registry}/schemas/ids/{schema_id}"))["schema"])
    prediction = schemaless_reader(io.BytesIO(message.value()[5:]), schemas[schema_id])
    print(prediction["event_id"], prediction["score"], flush=True)
