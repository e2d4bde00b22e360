"""The model's features, computed from the Avro files: the Python twin of pipeline.ts, written without looking at it."""

import datetime
import math
from pathlib import Path

import fastavro
import numpy as np

MS_PER_HOUR = 3_600_000
MS_PER_DAY = 24 * MS_PER_HOUR
CATEGORIES = ("carrier", "origin", "dest")
WEATHER = ("temp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib")
# The order of the model's input. A missing value is NaN.
FEATURES = (
    "dep_delay",
    "distance",
    *CATEGORIES,
    "scheduled_hour",
    "weekday",
    "plane_age",
    "plane_seats",
    *WEATHER,
)


def read(path: Path) -> list[dict]:
    """Records of an Avro container file, every time as milliseconds since 1970-01-01 UTC."""

    def epoch_ms(value):
        return round(value.timestamp() * 1000) if isinstance(value, datetime.datetime) else value

    with path.open("rb") as file:
        return [{name: epoch_ms(value) for name, value in record.items()} for record in fastavro.reader(file)]


def month_start_ms(year: int, month: int, day: int = 1) -> int:
    return round(datetime.datetime(year, month, day, tzinfo=datetime.UTC).timestamp() * 1000)


def vocabularies(events: list[dict]) -> dict[str, list[str]]:
    """The sorted values of each category. A category's feature value is its index; a value not in here is -1."""
    return {name: sorted({event[name] for event in events}) for name in CATEGORIES}


def weather_key(event: dict) -> tuple[str, int]:
    """(origin, start of the UTC hour of the actual departure): the key of the weather table."""
    return event["origin"], event["departed_at"] // MS_PER_HOUR * MS_PER_HOUR


def feature_row(event: dict, weather: dict | None, vocabulary: dict[str, list[str]], extra: list[str]) -> list[float]:
    """FEATURES, then extra (names of weather fields), as float64 with NaN for missing."""
    row = {
        "dep_delay": event["dep_delay"],
        "distance": event["distance"],
        "scheduled_hour": event["scheduled_at"] // MS_PER_HOUR % 24,
        # 0 = Monday; 1970-01-01 was a Thursday.
        "weekday": (event["scheduled_at"] // MS_PER_DAY + 3) % 7,
        "plane_age": None if event["plane_year"] is None else 2013 - event["plane_year"],
        "plane_seats": event["plane_seats"],
    }
    for name in CATEGORIES:
        values = vocabulary[name]
        row[name] = values.index(event[name]) if event[name] in values else -1
    for name in (*WEATHER, *extra):
        row[name] = None if weather is None else weather[name]
    return [math.nan if row[name] is None else float(row[name]) for name in (*FEATURES, *extra)]


def feature_matrix(
    events: list[dict], weather: dict[tuple[str, int], dict], vocabulary: dict[str, list[str]], extra: list[str]
) -> np.ndarray:
    """[events, features] float32, as the model sees it."""
    rows = [feature_row(event, weather.get(weather_key(event)), vocabulary, extra) for event in events]
    return np.array(rows, dtype=np.float32)
