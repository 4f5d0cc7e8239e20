"""Check whether DVC can work in a repository's folder."""

from pathlib import Path

from echodistill.revision import git_cure


def dvc_folder_fault(folder: Path) -> str:
    """Return what to do where DVC cannot work in the repository ``folder``; empty where it can."""
    if braces := [part for part in folder.resolve().parts if "{" in part or "}" in part]:
        return (
            f"DVC cannot work below a folder with braces in its name: rename {braces[0]!r} or move"
            " the repository"
        )
    return git_cure(folder)
