"""write_flights.py <events topic>: one flight that can be scored, and one of no distance."""

import os
import sys
from datetime import datetime, timezone

from confluent_kafka import Producer

from registry import encoder

topic = sys.argv[1]
encode = encoder(f"{topic}-value")
producer = Producer({"bootstrap.servers": os.environ["KAFKA_BROKERS"], "partitioner": "murmur2_random"})
at = datetime(2013, 3, 15, 14, 30, tzinfo=timezone.utc)
for event_id, distance in [("from-python", 700), ("from-python-nowhere", 0)]:
    flight = {
        "event_id": event_id,
        "carrier": "UA",
        "flight": 1,
        "tailnum": "N14228",
        "origin": "EWR",
        "dest": "ORD",
        "scheduled_at": at,
        "departed_at": at,
        "dep_delay": 0,
        "distance": distance,
        "plane_year": 1999,
        "plane_seats": None,
    }
    producer.produce(topic, key=flight["tailnum"], value=encode(flight))
assert producer.flush(30) == 0, "not everything was acknowledged"
