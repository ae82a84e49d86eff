"""How log records are written: readable lines, or one JSON object each. Times are UTC in JSON, local in text.

Records may carry `connection`, the number of a client connection, and where there are several workers, `worker`, the
number of the one whose connection that is: `[2] #17` is not `[1] #17`. No record ever carries SQL, parameters or
secrets: what is not formatted into a message cannot leak, so nothing else of a record's attributes is written.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00 INFO     #17 message`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-8s %(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        number = getattr(record, "connection", None)
        if number is not None:
            record.message = f"#{number} {record.message}"
        if (worker := getattr(record, "worker", None)) is not None:
            record.message = f"[{worker}] {record.message}"
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "message": ..., "connection": ...}`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if hasattr(record, "worker"):
            entry["worker"] = record.worker
        if hasattr(record, "connection"):
            entry["connection"] = record.connection
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure(level: str, style: str) -> None:
    """Write pgshim's records to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("pgshim").setLevel(level.upper())


def name_worker(number: int) -> None:
    """Have all records of this process carry the number of its worker."""

    def mark(record: logging.LogRecord) -> bool:
        record.worker = number
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(mark)
