"""A second model for the flights pipeline, with scikit-learn: writes OUT/model.onnx, and OUT/rows.csv to prove the export with.

    python train_sklearn.py OUT        trains on January to March 2013, as train.py does
"""

import csv
import sys
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from features import FEATURES, feature_matrix, month_start_ms, read, vocabularies, weather_key

HERE = Path(__file__).parent
LATE_MINUTES = 15
GOLDEN_ROWS = 20

out = Path(sys.argv[1])
events = read(HERE / "data/events.avro")
arr_delay = {label["event_id"]: label["arr_delay"] for label in read(HERE / "data/labels.avro")}
weather = {(row["origin"], row["hour"]): row for row in read(HERE / "data/tables/weather.avro")}
labelled = [event for event in events if event["event_id"] in arr_delay]
trained_until = month_start_ms(2013, 4)
trained = np.array([event["departed_at"] < trained_until for event in labelled])
vocabulary = vocabularies([event for event in events if event["departed_at"] < trained_until])
features = feature_matrix(labelled, weather, vocabulary, [])
late = np.array([arr_delay[event["event_id"]] > LATE_MINUTES for event in labelled])

forest = RandomForestClassifier(n_estimators=40, max_depth=10, random_state=2013, n_jobs=-1)
model = make_pipeline(SimpleImputer(), forest).fit(features[trained], late[trained])
print(f"AUC April 2013 on: {roc_auc_score(late[~trained], model.predict_proba(features[~trained])[:, 1]):.4f}")

# plain tensors: without ZipMap
onnx = to_onnx(model, features[:1], options={id(model): {"zipmap": False}})
out.mkdir(parents=True, exist_ok=True)
(out / "model.onnx").write_bytes(onnx.SerializeToString())

# what the model said here is what it has to say there
rows = features[np.linspace(0, len(features) - 1, GOLDEN_ROWS).astype(int)]
with (out / "rows.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow([*FEATURES, "output.0", "output.1"])
    for row, answer in zip(rows, model.predict_proba(rows), strict=True):
        writer.writerow(["" if np.isnan(value) else repr(float(value)) for value in row] + [repr(float(p)) for p in answer])
