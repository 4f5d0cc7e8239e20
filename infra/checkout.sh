#!/bin/sh
# Entry point of the worker image: a clone of the repository, then the command inside it. Stages need a git revision (lineage,
# DVC experiments), and `python -m` in the clone prefers its modules to those installed in the image.
set -eu
folder=/workspace/echodistill
if [ ! -d "$folder/.git" ]; then
    rm -rf "$folder.part"
    git clone --quiet "${ECHODISTILL_GIT_URL:?name the git repository to run}" "$folder.part"
    git -C "$folder.part" checkout --quiet "${ECHODISTILL_GIT_REF:-HEAD}"
    mv "$folder.part" "$folder" # whole or not at all
fi
cd "$folder"
export ECHODISTILL_REPOSITORY="$folder" # where the deployments of prefect.yaml start
exec "$@"
