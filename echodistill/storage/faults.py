"""Explain errors of the store or of the connection to it in one sentence with the cure."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

from echodistill.core.errors import UserError
from echodistill.storage.place import VARIABLE, Place

CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
UNREACHABLE = (BotoConnectionError, HTTPClientError, IncompleteReadError)
CONTESTED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
"""Codes of a write whose condition does not hold, because another client wrote the same key."""
CHANGED = "the object was changed meanwhile: try again"
FULL = {
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "QuotaExceeded",
    "InsufficientStorage",
    "EntityTooLarge",
    "507",
}
REGION = {
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "301",
    "400",
}


def code_of(error: ClientError) -> str:
    """Return S3's error code, or the HTTP status where the answer has no body (HEAD)."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_absent(error: ClientError) -> bool:
    """Return whether the object does not exist; the bucket may exist."""
    return code_of(error) in ("NoSuchKey", "404", "NotFound")


@contextmanager
def clear_errors(place: Place, doing: str) -> Iterator[None]:
    """Turn boto3's errors in the block into a ``UserError`` that names what the block is
    ``doing``.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise UserError(f"cannot {doing}: {_explained(error, place)}") from error
    except RetriesExceededError as error:
        fault = _unreachable(error.last_exception, place)
        raise UserError(f"cannot {doing}: {fault}") from error
    except S3DownloadFailedError as error:
        raise UserError(f"cannot {doing}: {CHANGED}") from error


def _explained(error: ClientError | BotoCoreError, place: Place) -> str:
    if isinstance(error, ClientError):
        return _refused(error, place)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return f"there are no S3 credentials: {CREDENTIALS}"
    if isinstance(error, ProfileNotFound):
        return (
            "the profile named by AWS_PROFILE is not in the AWS configuration: correct AWS_PROFILE"
        )
    if isinstance(error, UNREACHABLE):
        return _unreachable(error, place)
    return (
        f"the S3 client is not set up right ({error}): correct the AWS environment variables or"
        " profile"
    )


def _unreachable(error: Exception, place: Place) -> str:
    cure = "start the store (`echodistill services up`) or correct AWS_ENDPOINT_URL_S3"
    return f"{place.server} cannot be reached ({type(error).__name__}): {cure}"


def _refused(error: ClientError, place: Place) -> str:
    # The server's own message is left out: it may repeat parts of the signed request.
    code = code_of(error)
    answers = {
        "InvalidAccessKeyId": f"{place.server} does not know the access key: {CREDENTIALS}",
        "SignatureDoesNotMatch": (
            f"the secret does not belong to the access key at {place.server}: {CREDENTIALS}"
        ),
        "ExpiredToken": f"the credentials have expired: get new ones, then {CREDENTIALS}",
        "InvalidToken": "the session token is not valid: correct or unset AWS_SESSION_TOKEN",
        "NoSuchBucket": (
            f"there is no bucket {place.bucket!r} at {place.server}: create it, or correct"
            f" {VARIABLE}"
        ),
        "RequestTimeTooSkewed": (
            "the clocks of this machine and the store differ by too much: set this machine's clock"
        ),
        "BadDigest": "the bytes were changed on their way: try again",
        "PreconditionFailed": CHANGED,
    }
    if code in answers:
        return answers[code]
    if code in FULL or status_of(error) == 507:
        return f"{place.server} is full ({code}): free space there or raise its quota"
    if status_of(error) == 403:
        return (
            f"the credentials do not permit it ({code}) in {place.url(place.prefix)}: have the"
            f" rights granted, or {CREDENTIALS}"
        )
    if code in REGION:
        return (
            f"{place.server} keeps bucket {place.bucket!r} in another region ({code}): set"
            " AWS_DEFAULT_REGION"
        )
    if status_of(error) >= 500 or code in ("SlowDown", "Throttling", "RequestLimitExceeded"):
        return (
            f"{place.server} fails ({code}): it is full, read-only, overloaded or out of order;"
            " look at its log and try again"
        )
    return f"{place.server} refuses it ({code}): correct {VARIABLE} or the AWS settings"
