"""`pytz`: time zones for log lines, by the standard library."""

from zoneinfo import ZoneInfo

timezone = ZoneInfo
