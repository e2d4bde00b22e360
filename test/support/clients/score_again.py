"""
score_again.py <pipeline> <model folder>: reads the predictions with clickhouse-connect and runs the model on the stored
features with ONNX Runtime. Prints rows and the largest difference as JSON.
"""

import hashlib
import json
import os
import pathlib
import sys
from urllib.parse import urlsplit

import clickhouse_connect
import numpy as np
import onnxruntime

pipeline, folder = sys.argv[1], pathlib.Path(sys.argv[2])
manifest = json.loads((folder / "manifest.json").read_text())
model = (folder / manifest["file"]).read_bytes()
address = urlsplit(os.environ["CLICKHOUSE_URL"])
clickhouse = clickhouse_connect.get_client(host=address.hostname, port=address.port, database="millrace")
rows = clickhouse.query(
    "SELECT features, outputs, score, model_digest FROM predictions FINAL WHERE pipeline = {pipeline:String}",
    parameters={"pipeline": pipeline},
).result_rows
features = np.array([row[0] for row in rows], dtype=np.float32)
outputs = np.array([row[1] for row in rows], dtype=np.float64)
scores = np.array([row[2] for row in rows], dtype=np.float64)

session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
(again,) = session.run([manifest["output"]["tensor"]], {manifest["input"]["tensor"]: features})
print(
    json.dumps(
        {
            "rows": len(rows),
            "missing_values": int(np.isnan(features).sum()),
            "digests": {row[3] for row in rows} == {hashlib.sha256(model).hexdigest()},
            "outputs": float(np.abs(outputs - again).max()),
            "scores": float(np.abs(scores - again[:, 1]).max()),
        }
    )
)
