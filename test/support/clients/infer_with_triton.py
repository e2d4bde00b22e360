"""
infer_with_triton.py <gateway host:port> <pipeline>: NVIDIA's client for Triton gets predictions from the gateway, with its API key in
GATEWAY_KEY. Prints what it was told as JSON.
"""

import json
import os
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

address, pipeline = sys.argv[1:]
headers = {"Authorization": f"Bearer {os.environ['GATEWAY_KEY']}"}
client = triton.InferenceServerClient(address)

ROWS = 3
FLIGHTS = {
    "carrier": ["UA", "AA", "DL"],
    "flight": [1545, 1141, 461],
    "tailnum": ["N14228", "N619AA", "N668DN"],
    "origin": ["EWR", "JFK", "LGA"],
    "dest": ["IAH", "MIA", "ATL"],
    "scheduled_at": [1357034100000, 1357036800000, 1357038000000],
    "departed_at": [1357034220000, 1357036920000, 1357037640000],
    "dep_delay": [2, 2, -6],
    "distance": [1400, 1089, 762],
}
NUMPY = {"BYTES": np.object_, "INT32": np.int32, "INT64": np.int64, "FP32": np.float32, "FP64": np.float64}


def inputs(flights, binary):
    """As the model's metadata says; optional ones that are not in `flights` are left out."""
    for tensor in client.get_model_metadata(pipeline, headers=headers)["inputs"]:
        name, datatype = tensor["name"], tensor["datatype"]
        if name not in flights:
            assert tensor["parameters"]["optional"], name
            continue
        given = triton.InferInput(name, [len(flights[name])], datatype)
        given.set_data_from_numpy(np.array(flights[name], dtype=NUMPY[datatype]), binary_data=binary)
        yield given


def infer(flights, binary, outputs=None):
    # it writes the length of its JSON into the headers that it is given
    return client.infer(pipeline, list(inputs(flights, binary)), outputs=outputs, headers=dict(headers))


by_default = infer(FLIGHTS, binary=True)
wanted = [triton.InferRequestedOutput("score", binary_data=False), triton.InferRequestedOutput("request_id")]
as_json = infer(FLIGHTS, binary=False, outputs=wanted)
try:
    infer({**FLIGHTS, "distance": [1400, -1, 762]}, binary=True)
    refusal = None
except InferenceServerException as error:
    refusal = [error.status(), error.message()]

print(
    json.dumps(
        {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(pipeline),
            "other_model_ready": client.is_model_ready("other"),
            "server": client.get_server_metadata()["name"],
            "scores": by_default.as_numpy("score").tolist(),
            "outputs": list(by_default.as_numpy("outputs").shape),
            "degraded": by_default.as_numpy("degraded").dtype.name,
            "versions": sorted({version.decode() for version in by_default.as_numpy("model_version")}),
            "scores_as_json": as_json.as_numpy("score").tolist(),
            "request_ids": [text.decode() for text in as_json.as_numpy("request_id")],
            "refusal": refusal,
        }
    )
)
