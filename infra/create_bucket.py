"""Make the bucket unless it is there; endpoint, region and credentials come from the standard AWS
variables.
"""

import os

import boto3
from botocore.exceptions import ClientError


def main() -> None:
    bucket = os.environ["ECHODISTILL_BUCKET"]
    try:
        boto3.client("s3").create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in (
            "BucketAlreadyOwnedByYou",
            "BucketAlreadyExists",
        ):
            raise
    # somebody else's bucket of that name ends the job here
    boto3.client("s3").head_bucket(Bucket=bucket)
    print(f"bucket {bucket} is there")


if __name__ == "__main__":
    main()
