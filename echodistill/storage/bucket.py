"""Create the bucket of the shared store: ``python -m echodistill.storage.bucket`` with
``ECHODISTILL_S3`` set.
"""

import sys

from botocore.exceptions import ClientError

from echodistill.core.errors import UserError
from echodistill.storage.client import open_store
from echodistill.storage.faults import clear_errors
from echodistill.storage.place import Place, place_from_environment

OURS_ALREADY = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def make_bucket(place: Place) -> bool:
    """Create the bucket of ``place`` and return whether it is new.

    Raise ``UserError`` where the store refuses it.
    """
    with clear_errors(place, f"create the bucket {place.bucket}"):
        try:
            open_store(place).client.create_bucket(Bucket=place.bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] in OURS_ALREADY:
                return False
            raise
    return True


def main() -> None:
    place = place_from_environment()
    if place is None:
        sys.exit("error: ECHODISTILL_S3 is not set: give s3://BUCKET/PREFIX")
    try:
        print(f"bucket {place.bucket} {'created' if make_bucket(place) else 'exists'}")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
