"""The Hugging Face hub: weights from `hf://user/repo`, and models to it (extra `tubelet[hf]`)."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tubelet.errors import CheckpointError, InputError
from tubelet.files import offline

if TYPE_CHECKING:
    from tubelet.models.detector import ActionModel

PREFIX = "hf://"
WEIGHTS, CARD = "model.safetensors", "README.md"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
# The hub's own revisions `refs/pr/7` and `refs/convert/parquet` are the ones with slashes.
_ADDRESS = re.compile(
    rf"hf://(?P<repo>{_PART}/{_PART})"
    rf"(?:@(?P<revision>refs/{_PART}/{_PART}|{_PART}))?"
    rf"(?:/(?P<file>(?:{_PART}/)*{_PART}\.safetensors))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One weights file of a repository; `revision` is a branch, a tag or a commit."""

    repo: str
    revision: str | None = None
    file: str = WEIGHTS

    @classmethod
    def parse(cls, address: str) -> HubFile:
        """Read `hf://user/repo[@revision][/file.safetensors]`. Raises InputError."""
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise InputError(
                f"cannot read the address {address!r}",
                expected="hf://user/repo[@revision][/file.safetensors]",
            )
        return cls(repo=found["repo"], revision=found["revision"], file=found["file"] or WEIGHTS)

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{self.repo}{revision}/{self.file}"


def hub_weights(address: str) -> Path:
    """The local copy of a hub file, downloaded into the hub's own cache if it is not there.

    Raises InputError without `huggingface_hub`, for an address that leads nowhere and where the
    file is neither cached nor to be had; CheckpointError where the hub refuses or breaks off.
    """
    wanted = HubFile.parse(address)
    hub = _huggingface_hub()
    with _explained(hub, str(wanted)):
        found = hub.hf_hub_download(
            wanted.repo,
            wanted.file,
            revision=wanted.revision,
            library_name="tubelet",
            local_files_only=offline(),
        )
    return Path(found)


def push_to_hub(
    model: ActionModel,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = "Upload a tubelet model",
    token: str | None = None,
    **card: Any,
) -> str:
    """Upload a model to `user/repo`, which is made if need be; returns the commit's address.

    `card` goes to `save_pretrained`. A model card that the repository already has is
    left as its authors wrote it. Without `token`, the login of `huggingface_hub` is used.
    Raises InputError and CheckpointError as `hub_weights` does.
    """
    from tubelet.releases.pretrained import save_pretrained  # loads torch, as no download does

    wanted = HubFile.parse(f"{PREFIX}{repo_id}")
    if wanted.repo != repo_id:
        raise InputError(f"not a repository: {repo_id!r}", expected="user/repo")
    if offline():
        raise InputError(
            "nothing can be uploaded offline", hint="unset TUBELET_OFFLINE and HF_HUB_OFFLINE"
        )
    hub = _huggingface_hub()
    api = hub.HfApi(token=token, library_name="tubelet")
    with tempfile.TemporaryDirectory(prefix="tubelet_") as folder:
        save_pretrained(model, folder, source=f"{PREFIX}{repo_id}", **card)
        with _explained(hub, f"{PREFIX}{repo_id}"):
            api.create_repo(repo_id, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            has_card = api.file_exists(repo_id, CARD, revision=revision)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=message,
                ignore_patterns=[CARD] if has_card else None,
            )
    return str(commit.commit_url)


def _huggingface_hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise InputError(
            "the Hugging Face hub needs an optional package",
            expected="huggingface_hub",
            got=error,
            hint="pip install 'tubelet[hf]'",
        ) from error
    return huggingface_hub


@contextmanager
def _explained(hub: Any, address: str) -> Iterator[None]:
    """Turn the hub's errors about `address` into ours; what is not one of them passes through."""
    kinds = hub.errors
    try:
        yield
    except (kinds.LocalEntryNotFoundError, kinds.OfflineModeIsEnabled) as error:
        raise InputError(
            "these weights are not on this machine and the hub is out of reach",
            where=address,
            hint="fetch them where there is a connection (`hf download`) and load the file by path",
        ) from error
    except (kinds.RepositoryNotFoundError, kinds.LocalTokenNotFoundError) as error:
        raise InputError(
            "no such repository, or you may not see it",
            where=address,
            hint="check its name; a private or gated one needs `hf auth login`",
        ) from error
    except (kinds.EntryNotFoundError, kinds.RevisionNotFoundError) as error:
        raise InputError(
            "this repository has no such file or revision",
            where=address,
            hint=f"name the file, hf://user/repo/<file>.safetensors, if it is not {WEIGHTS}",
        ) from error
    except kinds.HFValidationError as error:
        raise InputError("the hub does not accept this name", where=address, got=error) from error
    # The bases of the hub's error are the HTTP client's own, for a connection, and OSError.
    except (kinds.HfHubHTTPError, *kinds.HfHubHTTPError.__bases__) as error:
        raise CheckpointError("the hub refused", where=address, got=error) from error
