"""Write and find pointers from a training to its published checkpoints: one small object for each.

A pointer is written once and found by listing. The key
``PREFIX/checkpoints/runs/RUN/step-00000020/MANIFEST-SHA256`` alone states that the folder with this
manifest is the checkpoint of step 20 of RUN, so a pointer cannot be damaged. Where two machines
published different bytes for one step, there are two pointers.
"""

import re
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from echodistill.storage.client import Store
from echodistill.storage.faults import CONTESTED, clear_errors, code_of
from echodistill.storage.folders import SUFFIX
from echodistill.storage.place import sha256_in

KIND = "checkpoints"
NAME = re.compile(r"step-(\d+)/([0-9a-f]{64})")


@dataclass(frozen=True)
class Pointer:
    """A pointer to a published checkpoint."""

    step: int
    manifest: str
    """Key of the checkpoint's manifest."""


def runs_folder(store: Store, run: str) -> str:
    """Return the prefix of the keys of a run's pointers."""
    return store.place.below(f"{KIND}/runs/{run}/")


def point(store: Store, run: str, pointer: Pointer) -> None:
    """Write a pointer, unless it exists. Raise ``UserError`` where the store cannot be used."""
    key = f"{runs_folder(store, run)}step-{pointer.step:08d}/{sha256_in(pointer.manifest)}"
    content = f"{pointer.manifest}\n".encode()
    with clear_errors(store.place, f"put {store.place.url(key)}"):
        try:
            store.client.put_object(
                Bucket=store.place.bucket,
                Key=key,
                Body=content,
                ChecksumAlgorithm="SHA256",
                IfNoneMatch="*",
            )
        except ClientError as error:
            if code_of(error) not in CONTESTED:
                raise


def pointers_of(store: Store, run: str) -> list[Pointer]:
    """Return all published checkpoints of a run, the highest step first.

    Within a step, the one written last is first. Raise ``UserError`` where the store cannot be
    used.
    """
    folder = runs_folder(store, run)
    rows: list[dict[str, Any]] = []
    with clear_errors(store.place, f"list {store.place.url(folder)}"):
        for page in store.client.get_paginator("list_objects_v2").paginate(
            Bucket=store.place.bucket, Prefix=folder
        ):
            rows += page.get("Contents", [])
    found = [
        (match, row["LastModified"])
        for row in rows
        if (match := NAME.fullmatch(row["Key"].removeprefix(folder)))
    ]
    newest_first = sorted(found, key=lambda one: (int(one[0][1]), one[1]), reverse=True)
    return [
        Pointer(int(match[1]), store.place.key(KIND, match[2], SUFFIX)) for match, _ in newest_first
    ]
