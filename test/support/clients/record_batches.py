"""
record_batches.py read <topic>: the records of partition 0 as JSON, read by librdkafka (read_committed).
record_batches.py write <topic>: records with each codec and in transactions, written to partition 0 by librdkafka; prints
the ones that count, and those of aborted transactions, as JSON.
"""

import json
import os
import sys

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

mode, topic = sys.argv[1:3]
brokers = {"bootstrap.servers": os.environ["KAFKA_BROKERS"]}
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
FIRST_MS = 1_700_000_000_000


def as_text(data):
    return None if data is None else data.hex()


def described(timestamp, key, value, headers):
    return {
        "timestamp": timestamp,
        "key": as_text(key),
        "value": as_text(value),
        "headers": [[name, as_text(content)] for name, content in headers or []],
    }


def read():
    consumer = Consumer(
        {
            **brokers,
            "group.id": "reads-without-committing",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "check.crcs": True,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    records = []
    while True:
        message = consumer.poll(30)
        assert message is not None, f"{topic} does not answer"
        if message.error() and message.error().code() == KafkaError._PARTITION_EOF:
            break
        assert not message.error(), message.error()
        record = described(message.timestamp()[1], message.key(), message.value(), message.headers())
        records.append({"offset": message.offset(), **record})
    consumer.close()
    return records


def fields(index):
    """A record of every kind in turn; what repeats is worth compressing."""
    key = None if index % 4 == 3 else f"key-{index}".encode()
    value = None if index % 7 == 6 else f"{index} ".encode() + b"a value that repeats itself " * 8
    headers = [] if index % 3 else [("tenant", b"default"), ("empty", b""), ("null", None), ("tenant", b"\xff\x00")]
    # not in order, and further apart than 32 bits of milliseconds
    timestamp = FIRST_MS + (index % 5) * 3_000_000_000 - index
    return timestamp, key, value, headers


def produce(producer, indexes):
    for index in indexes:
        timestamp, key, value, headers = fields(index)
        producer.produce(topic, partition=0, timestamp=timestamp, key=key, value=value, headers=headers)
    assert producer.flush(30) == 0, "not everything was acknowledged"
    return [described(*fields(index)) for index in indexes]


def write():
    written, aborted = [], []
    for number, codec in enumerate(CODECS):
        producer = Producer({**brokers, "compression.type": codec, "linger.ms": 100})
        written += produce(producer, range(number * 100, number * 100 + 100))
    producer = Producer({**brokers, "transactional.id": topic, "compression.type": "lz4", "linger.ms": 100})
    producer.init_transactions(30)
    for number, ends in enumerate(["commit", "abort", "commit", "abort", "abort", "commit"]):
        producer.begin_transaction()
        records = produce(producer, range(1_000 + number * 10, 1_010 + number * 10))
        if ends == "commit":
            producer.commit_transaction(30)
            written += records
        else:
            producer.abort_transaction(30)
            aborted += records
    return {"written": written, "aborted": aborted}


print(json.dumps(read() if mode == "read" else write()))
