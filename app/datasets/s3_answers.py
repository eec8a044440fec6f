"""What S3 and the way to it answer when something fails, in our errors and in one sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from app.errors import NoSuchPlace, PlaceUnavailable

_OF_OBJECT: Final = frozenset({"InvalidObjectState"})
"""Told as a refusal, although only this object cannot be read: it is in an archive."""
_LATER: Final = frozenset({errno.EBUSY, errno.EREMOTEIO, errno.ETIMEDOUT})


@contextmanager
def telling(bucket: str, uri: str, endpoint: str | None) -> Iterator[None]:
    """Turn errors of s3fs, botocore and aiohttp into FileNotFoundError, OSError or PlaceUnavailable."""
    from aiohttp import ClientError as HttpError
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (OSError, BotoCoreError, ClientError, HttpError, ResponseParserError) as error:
        raise _told(error, bucket, uri, endpoint or "Amazon S3") from error


def _told(error: Exception, bucket: str, uri: str, endpoint: str) -> Exception:
    if _code(error) == "NoSuchBucket":
        return NoSuchPlace(f"There is no bucket {bucket!r} at {endpoint}.")
    unusable = _why_unusable(error, uri, endpoint)
    if unusable is not None:
        return PlaceUnavailable(unusable)
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "There is no such object", uri)
    return OSError(getattr(error, "errno", None) or errno.EIO, _said(error), uri)


def _why_unusable(error: Exception, uri: str, endpoint: str) -> str | None:
    """Why nothing of a place can be had; None when it is about one object."""
    code = _code(error)
    if code == "404" and _operation(error) != "HeadObject":  # which alone has no room for the reason
        return f"{endpoint} does not answer as S3 does; {uri} cannot be used."
    if isinstance(error, FileNotFoundError) or code in _OF_OBJECT:
        return None
    if isinstance(error, PermissionError):
        return f"{endpoint} does not let this service use {uri}: {_said(error)}."
    if _is_of_credentials(error):
        return f"This service has no credentials for {uri} that work: {_said(error)}."
    if code is None or getattr(error, "errno", None) in _LATER:
        return f"{endpoint} cannot be reached for {uri}: {_said(error)}."
    return None


def _code(error: BaseException) -> str | None:
    """What S3 calls it; None where S3 was not heard."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    return None if response is None else str(response["Error"].get("Code"))


def _operation(error: BaseException) -> str | None:
    return getattr(error, "operation_name", None) or getattr(error.__cause__, "operation_name", None)


def _is_of_credentials(error: Exception) -> bool:
    from botocore.exceptions import (
        CredentialRetrievalError,
        InvalidConfigError,
        NoCredentialsError,
        NoRegionError,
        PartialCredentialsError,
        ProfileNotFound,
    )

    kinds = (CredentialRetrievalError, InvalidConfigError, NoCredentialsError, NoRegionError)
    return isinstance(error, (*kinds, PartialCredentialsError, ProfileNotFound))


def _said(error: Exception) -> str:
    """Its own words, for the end of a sentence."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(words.split())[:300].rstrip(".")
