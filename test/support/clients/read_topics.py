"""read_topics.py <pipeline>: reads every topic to its end, and makes up the account from the topics alone. Prints JSON."""

import json
import os
import sys
from collections import Counter

from confluent_kafka import Consumer, KafkaError, TopicPartition

from registry import decode

pipeline = sys.argv[1]
TOPICS = [f"{pipeline}.{name}" for name in ("events", "features", "predictions", "dead-letters", "labels", "weather")]


def read(topic):
    """(partition, offset, key, record) of every record, tombstones left out."""
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BROKERS"],
            "group.id": "reads-without-committing",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    ended = set()
    while len(ended) < len(partitions):
        message = consumer.poll(30)
        assert message is not None, f"{topic} does not answer"
        if message.error() and message.error().code() == KafkaError._PARTITION_EOF:
            ended.add(message.partition())
        else:
            assert not message.error(), message.error()
            if message.value() is not None:
                yield message.partition(), message.offset(), message.key(), decode(message.value())
    consumer.close()


records = {topic.removeprefix(f"{pipeline}."): list(read(topic)) for topic in [*TOPICS, "millrace.stage-metrics"]}

keys = {(partition, offset): key for partition, offset, key, _ in records["events"]}
ends = Counter((partition, record["origin_offset"]) for partition, _, _, record in records["predictions"])
ends.update((record["partition"], record["origin_offset"]) for _, _, _, record in records["dead-letters"])
print(
    json.dumps(
        {
            "counts": {name: len(rows) for name, rows in records.items()},
            "with_one_end": sum(ends[coordinates] == 1 for coordinates in keys),
            "ends_of_nothing": sum(coordinates not in keys for coordinates in ends),
            "generations": len(
                {row[3]["origin_generation"] for name in ("predictions", "dead-letters") for row in records[name]}
            ),
            "keys_kept": all(
                keys[partition, record["origin_offset"]] == key for partition, _, key, record in records["predictions"]
            ),
            "reasons": Counter(record["reason"] for _, _, _, record in records["dead-letters"]),
            "stages": sorted({row[3]["stage"] for row in records["millrace.stage-metrics"] if row[3]["pipeline"] == pipeline}),
        }
    )
)
