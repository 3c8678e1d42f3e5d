"""A day's weather, as a type and as a row of SQLite."""

import datetime
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, TypeAlias

from msgspec import Meta


class Weather(Enum):
    SUN = "sun"
    FOG = "fog"
    DRIZZLE = "drizzle"
    RAIN = "rain"
    SNOW = "snow"


# Bounds, so that a slipped decimal point does not pass for weather, and neither does NaN.
Celsius: TypeAlias = Annotated[float, Meta(ge=-90, le=60)]
Amount: TypeAlias = Annotated[float, Meta(ge=0, le=2000)]


@dataclass(frozen=True)
class Reading:
    date: datetime.date
    precipitation: Amount
    temp_max: Celsius
    temp_min: Celsius
    wind: Amount
    weather: Weather


CREATE = """
CREATE TABLE IF NOT EXISTS reading (
    date TEXT PRIMARY KEY, precipitation REAL, temp_max REAL, temp_min REAL, wind REAL, weather TEXT
)
"""
# A step may run twice: the second time, it puts the same rows in the place of the first ones.
INSERT = """
INSERT OR REPLACE INTO reading (date, precipitation, temp_max, temp_min, wind, weather)
VALUES (:date, :precipitation, :temp_max, :temp_min, :wind, :weather)
"""
