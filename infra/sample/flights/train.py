"""Trains the flight-delay model on January to March 2013 and writes model, manifest and golden events.

    python train.py                                            models/1/ and golden.json
    python train.py --version 2 --extra-feature dewp --trees 20 --out DIR     a model with one more weather feature

Run convert.py first. The same package versions give the same bytes. Training takes the flights whose departed_at is in
[2013-01-01, 2013-04-01) UTC; months in the report are UTC months of departed_at as well.
"""

import argparse
import hashlib
import json
import math
import re
import textwrap
from pathlib import Path

import lightgbm
import numpy as np
import onnx
import onnxruntime
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.metrics import roc_auc_score

from features import CATEGORIES, FEATURES, feature_matrix, feature_row, month_start_ms, read, vocabularies, weather_key

HERE = Path(__file__).parent
TRAIN_FROM, TRAIN_TO = (2013, 1, 1), (2013, 4, 1)
LATE_MINUTES = 15
JSON_WIDTH = 120


def train(features: np.ndarray, late: np.ndarray, names: list[str], trees: int) -> lightgbm.Booster:
    """Categories are ordinary numbers here: ONNX has no category splits, so the conversion stays exact.

    Where a feature was never missing in training, LightGBM reads a later NaN as 0, which the conversion does not carry
    over. Rows that miss one such feature each, added with weight 0, let every feature be missing in both.
    """
    never_missing = np.flatnonzero(~np.isnan(features).any(axis=0))
    missing = np.repeat(features[:1], len(never_missing), axis=0)
    missing[np.arange(len(never_missing)), never_missing] = np.nan
    weights = np.concatenate([np.ones(len(features)), np.zeros(len(missing))])
    data = lightgbm.Dataset(
        np.vstack([features, missing]).astype(np.float64),
        np.concatenate([late, np.zeros(len(missing))]),
        weight=weights,
        feature_name=names,
    )
    parameters = {
        "objective": "binary",
        "learning_rate": 0.1,
        "num_leaves": 31,
        "min_data_in_leaf": 100,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "seed": 2013,
        "verbose": -1,
    }
    return with_float32_thresholds(lightgbm.train(parameters, data, num_boost_round=trees))


def with_float32_thresholds(booster: lightgbm.Booster) -> lightgbm.Booster:
    """The same model for float32 input, with thresholds that ONNX can hold.

    LightGBM's thresholds are float64, ONNX's float32. Rounded to nearest, one that lies between two neighbouring
    float32 values may move to the upper one and send it left instead of right; rounded down it cannot.
    """

    def rounded_down(match: re.Match) -> str:
        exact = np.array(match[1].split(), dtype=np.float64)
        nearest = exact.astype(np.float32)
        down = np.where(nearest > exact, np.nextafter(nearest, np.float32(-np.inf)), nearest)
        return "threshold=" + " ".join(repr(float(value)) for value in down) + "\n"

    # The text form gives each tree's size in bytes, which no longer holds; the parser does without.
    text = re.sub(r"^tree_sizes=.*\n", "", booster.model_to_string(), flags=re.M)
    return lightgbm.Booster(model_str=re.sub(r"^threshold=(.*)\n", rounded_down, text, flags=re.M))


def to_onnx(booster: lightgbm.Booster, width: int) -> bytes:
    """Input `features` [N, width] float32, output `probabilities` [N, 2] float32: on time, late."""
    model = convert_lightgbm(
        booster,
        name="flight-delay",
        initial_types=[("features", FloatTensorType([None, width]))],
        target_opset=15,
        zipmap=False,
    )
    kept = [output for output in model.graph.output if output.name == "probabilities"]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def plain(values: np.ndarray) -> list[float | None]:
    """float32 values as the doubles they are exactly, whole ones without a point, NaN as null."""
    return [None if math.isnan(v) else int(v) if float(v).is_integer() else float(v) for v in values]


def to_json(value, indent: int = 0, used: int = 0) -> str:
    """JSON that the repository's formatter leaves as it is: on one line where it fits, else one item a line."""
    flat = json.dumps(value)
    if isinstance(value, float):
        flat = re.sub(r"e-0(\d)$", r"e-\1", flat)
    if isinstance(value, dict):
        flat = "{ " + ", ".join(f"{json.dumps(k)}: {to_json(v, 0, -(10**9))}" for k, v in value.items()) + " }"
    elif isinstance(value, list):
        flat = "[" + ", ".join(to_json(v, 0, -(10**9)) for v in value) + "]"
    if not isinstance(value, dict | list) or not value or used + len(flat) <= JSON_WIDTH:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        keys = [f"{json.dumps(k)}: " for k in value]
        fields = zip(keys, value.values(), strict=True)
        items = [key + to_json(v, indent + 2, indent + 3 + len(key)) for key, v in fields]
        return "{\n" + ",\n".join(pad + item for item in items) + "\n" + " " * indent + "}"
    if all(isinstance(v, int | float) for v in value):
        items = [line.rstrip(",") for line in textwrap.wrap(flat[1:-1], JSON_WIDTH - len(pad))]
    else:
        items = [to_json(v, indent + 2, indent + 3) for v in value]
    return "[\n" + ",\n".join(pad + item for item in items) + "\n" + " " * indent + "]"


def golden_rows(features: np.ndarray, names: list[str], run) -> list[dict]:
    """Twenty rows: real ones from the whole year, and some with values missing or categories never seen."""
    rows = features[np.linspace(0, len(features) - 1, 20).astype(int)].copy()
    rows[12, :] = np.nan
    rows[13, names.index("dep_delay")] = np.nan
    rows[14, [names.index(name) for name in CATEGORIES]] = np.nan
    rows[15, [names.index(name) for name in CATEGORIES]] = -1
    rows[16, names.index("dest")] = -1
    rows[17, names.index("plane_age") : names.index("plane_seats") + 1] = np.nan
    rows[18, names.index("plane_seats") + 1 :] = np.nan
    rows[19, names.index("dep_delay")] = 1301
    return [{"features": plain(x), "outputs": plain(p)} for x, p in zip(rows, run(rows), strict=True)]


def golden_events(events: list[dict], weather: dict, vocabulary: dict, run) -> list[dict]:
    """Twelve events for `millrace test`, one for each thing that can differ, and two that a check refuses."""
    candidates = [event for event in events if event["departed_at"] >= month_start_ms(2013, 3, 15)]
    row_of = {id(event): weather.get(weather_key(event)) for event in candidates}

    def has(field: str, missing: bool):
        return lambda e: row_of[id(e)] is not None and (row_of[id(e)][field] is None) == missing

    wanted = [
        lambda e: e["origin"] == "EWR" and e["plane_year"] is not None,
        lambda e: e["origin"] == "JFK" and e["dep_delay"] < 0,
        lambda e: e["origin"] == "LGA" and e["dep_delay"] > 120,
        lambda e: e["plane_year"] is None and e["plane_seats"] is None,
        lambda e: e["plane_year"] is None and e["plane_seats"] is not None,
        lambda e: row_of[id(e)] is None,
        lambda e: has("wind_gust", False)(e) and has("pressure", False)(e),
        lambda e: has("pressure", True)(e),
        lambda e: has("wind_speed", True)(e) or has("temp", True)(e),
        lambda e: e["dest"] not in vocabulary["dest"],
        lambda e: e["distance"] > 4000,
        lambda e: e["departed_at"] // 86_400_000 != e["scheduled_at"] // 86_400_000,
    ]
    # Each search starts a twelfth of the time later and wraps around, which spreads the events over the year.
    starts = [len(candidates) * k // len(wanted) for k in range(len(wanted))]
    chosen = [
        next(event for event in candidates[start:] + candidates[:start] if want(event))
        for start, want in zip(starts, wanted, strict=True)
    ]
    result = []
    for event in chosen:
        row = np.array(feature_row(event, row_of[id(event)], vocabulary, []), dtype=np.float32)
        score = run(row[np.newaxis])[0, 1]
        expect = {"features": plain(row), "score": float(score)}
        result.append({"event": event, "tables": {"weather": row_of[id(event)]}, "expect": expect})
    for distance in (0, 6000):
        event = {**chosen[0], "distance": distance}
        result.append({"event": event, "expect": {"reject": "distance_out_of_range"}})
    return result


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--version", default="1")
    arguments.add_argument("--trees", type=int, default=100)
    arguments.add_argument("--extra-feature", action="append", default=[], help="a field of weather.avsc to append")
    arguments.add_argument("--out", type=Path, help="folder for model.onnx and manifest.json only")
    options = arguments.parse_args()
    out = options.out or HERE / "models" / options.version
    extra = options.extra_feature
    names = [*FEATURES, *extra]

    events = read(HERE / "data/events.avro")
    arr_delay = {label["event_id"]: label["arr_delay"] for label in read(HERE / "data/labels.avro")}
    weather = {(row["origin"], row["hour"]): row for row in read(HERE / "data/tables/weather.avro")}
    times = np.array([event["departed_at"] for event in events])
    in_training = (times >= month_start_ms(*TRAIN_FROM)) & (times < month_start_ms(*TRAIN_TO))
    vocabulary = vocabularies([event for event, chosen in zip(events, in_training, strict=True) if chosen])
    features = feature_matrix(events, weather, vocabulary, extra)
    labelled = np.array([event["event_id"] in arr_delay for event in events])
    late = np.array([arr_delay.get(event["event_id"], 0) > LATE_MINUTES for event in events])

    rows = in_training & labelled
    booster = train(features[rows], late[rows], names, options.trees)
    content = to_onnx(booster, len(names))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(x: np.ndarray) -> np.ndarray:
        return session.run(["probabilities"], {"features": np.ascontiguousarray(x, dtype=np.float32)})[0]

    # Parity on every flight, and on flights with each feature missing in turn and all of them.
    masked = np.repeat(features[:: len(features) // 200], len(names) + 1, axis=0)
    for column in range(len(names)):
        masked[column :: len(names) + 1, column] = np.nan
    masked[len(names) :: len(names) + 1] = np.nan
    both = np.vstack([features, masked])
    difference = np.abs(run(both)[:, 1] - booster.predict(both.astype(np.float64), num_threads=1)).max()
    print(f"ONNX Runtime against LightGBM on {len(both)} rows: largest difference {difference:.2e}")
    assert difference < 1e-6

    scores = run(features)[:, 1]
    months = times.astype("datetime64[ms]").astype("datetime64[M]")
    for month in np.unique(months):
        chosen = labelled & (months == month)
        auc = roc_auc_score(late[chosen], scores[chosen])
        mean = f"late {late[chosen].mean():.4f}, predicted {scores[chosen].mean():.4f}"
        print(f"{month}: AUC {auc:.4f}, {mean}, {chosen.sum()} labelled")
    for since, until in (((2013, 4, 1), (2014, 1, 1)), ((2013, 3, 15), (2014, 2, 1)), ((2013, 4, 1), (2014, 2, 1))):
        chosen = labelled & (times >= month_start_ms(*since)) & (times < month_start_ms(*until))
        print(f"{since} to {until}: AUC {roc_auc_score(late[chosen], scores[chosen]):.4f}, {chosen.sum()} labelled")

    entries = [
        {"name": name, "type": "category", "values": vocabulary[name]}
        if name in CATEGORIES
        else {"name": name, "type": "float32"}
        for name in names
    ]
    manifest = {
        "name": "flight-delay",
        "version": options.version,
        "file": "model.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "task": "binary",
        "input": {"tensor": "features", "features": entries, "missing": "nan"},
        "output": {"tensor": "probabilities", "width": 2, "range": [0, 1]},
        "training": {
            "from": "{}-{:02}-{:02}".format(*TRAIN_FROM),
            "to": "{}-{:02}-{:02}".format(*TRAIN_TO),
            "rows": int(rows.sum()),
            "auc": round(float(roc_auc_score(late[rows], scores[rows])), 4),
        },
        "golden": golden_rows(features, names, run),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(content)
    (out / "manifest.json").write_text(to_json(manifest) + "\n")
    print(f"{out / 'model.onnx'}: {len(content)} bytes")
    if options.out is None:
        (HERE / "golden.json").write_text(to_json(golden_events(events, weather, vocabulary, run)) + "\n")


if __name__ == "__main__":
    main()
