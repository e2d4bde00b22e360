"""write_codecs.py <topic>: ten records to partition 0 with each codec that librdkafka has."""

import os
import sys

from confluent_kafka import Producer

for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
    producer = Producer({"bootstrap.servers": os.environ["KAFKA_BROKERS"], "compression.type": codec, "linger.ms": 50})
    for index in range(10):
        producer.produce(sys.argv[1], key=codec, value=f"{codec} {index} " * 20, partition=0)
    assert producer.flush(30) == 0, codec
