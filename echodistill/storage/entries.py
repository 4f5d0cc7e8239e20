"""Store small entries under given keys: the S3 side of the teacher's shared cache."""

from botocore.exceptions import ClientError

from echodistill.storage.client import Store, rows_below
from echodistill.storage.faults import CONTESTED, clear_errors, code_of, is_absent

FOLDER = "cache/references"


class S3Entries:
    """An implementation of ``echodistill.teachers.shared_cache.Entries``.

    Every method raises ``UserError`` where the store cannot be used.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def object_key(self, key: str) -> str:
        return self._store.place.below(f"{FOLDER}/{key[:2]}/{key}")

    def keys(self) -> set[str]:
        """Return all existing keys, which are listed a thousand for each request."""
        rows = rows_below(self._store, self._store.place.below(f"{FOLDER}/"))
        return {row["Key"].rsplit("/", 1)[-1] for row in rows}

    def get(self, key: str) -> bytes | None:
        found = self._read(key)
        return found[0] if found else None

    def put(self, key: str, content: bytes, instead_of: bytes | None = None) -> None:
        """Store ``content`` where ``key`` has no entry or its entry equals ``instead_of``.

        Any other entry is kept.
        """
        condition = {"IfNoneMatch": "*"}
        if instead_of is not None:
            found = self._read(key)
            if found is not None and found[0] != instead_of:
                return
            condition = condition if found is None else {"IfMatch": found[1]}
        store, name = self._store, self.object_key(key)
        with clear_errors(store.place, f"put {store.place.url(name)}"):
            try:
                store.client.put_object(
                    Bucket=store.place.bucket,
                    Key=name,
                    Body=content,
                    ChecksumAlgorithm="SHA256",
                    **condition,
                )
            except ClientError as error:
                if code_of(error) not in CONTESTED:
                    raise

    def _read(self, key: str) -> tuple[bytes, str] | None:
        """Return an entry's bytes and ETag, or ``None`` where there is no entry."""
        store, name = self._store, self.object_key(key)
        with clear_errors(store.place, f"get {store.place.url(name)}"):
            try:
                answer = store.client.get_object(Bucket=store.place.bucket, Key=name)
                return answer["Body"].read(), answer["ETag"]
            except ClientError as error:
                if is_absent(error):
                    return None
                raise
