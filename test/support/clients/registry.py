"""The registry's HTTP API and the Confluent wire format, with nothing of Millrace."""

import io
import json
import os
import urllib.parse
import urllib.request

from fastavro import parse_schema, schemaless_reader, schemaless_writer

_URL = os.environ["SCHEMA_REGISTRY_URL"]
_schemas = {}


def _get(path):
    with urllib.request.urlopen(f"{_URL}/{path}") as answer:
        return json.load(answer)


def decode(value):
    """Record of a value in the wire format."""
    assert value[0] == 0, "no magic byte"
    schema_id = int.from_bytes(value[1:5], "big")
    if schema_id not in _schemas:
        _schemas[schema_id] = parse_schema(json.loads(_get(f"schemas/ids/{schema_id}")["schema"]))
    rest = io.BytesIO(value[5:])
    record = schemaless_reader(rest, _schemas[schema_id])
    assert rest.read() == b"", "bytes follow the record"
    return record


def encoder(subject):
    """Function from a record to its value, by the newest schema of the subject."""
    latest = _get(f"subjects/{urllib.parse.quote(subject, safe='')}/versions/latest")
    schema = parse_schema(json.loads(latest["schema"]))

    def encode(record):
        value = io.BytesIO(b"\0" + latest["id"].to_bytes(4, "big"))
        value.seek(0, io.SEEK_END)
        schemaless_writer(value, schema, record)
        return value.getvalue()

    return encode
