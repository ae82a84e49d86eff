"""Variables in files, as python-dotenv reads them, and with it pydantic-settings, uvicorn and Flask."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Mapping, Sequence

from pgshim.errors import ConfigurationError

DEFAULT = ".env"


def read(paths: Sequence[str], needs: Callable[[], bool]) -> Mapping[str, str]:
    """What these files say, the last one most; without any, `.env` where there is one.

    needs -- whether anything is asked of `.env`: it may be there for others, and its reader may not

    Raises ConfigurationError.
    """
    if not paths:
        if not (os.path.isfile(DEFAULT) and needs()):
            return {}
        paths = (DEFAULT,)
    try:
        from dotenv import dotenv_values
    except ImportError:
        raise ConfigurationError(
            f"{paths[-1]} is read by the package python-dotenv, which is not installed; pip install 'pgshim[run]'"
        ) from None
    found: dict[str, str] = {}
    for path in paths:
        try:
            with open(path, encoding="utf-8") as stream:
                values = dotenv_values(stream=stream)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigurationError(
                f"--env-file {path} cannot be read ({reason.lower()}); give a file with lines NAME=VALUE"
            ) from None
        found |= {name: value for name, value in values.items() if value is not None}
    return found
