"""Finds a model's files and its commit on the hub; the only module that downloads."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from harness.inputs.errors import AssayError, Unavailable
from harness.inputs.files import differences
from harness.inputs.files.library_calls import first_line
from harness.inputs.model_catalog import KnownModel, nearest
from harness.inputs.weight_files import WEIGHTS

# The files a chat model needs from the hub; never pickles, never code.
_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model")
# Second copies of the weights that some repositories hold.
_NOT_FILES = ("original/*", "consolidated*", "onnx/*")
# Releases of huggingface_hub use different HTTP clients; their errors' base class is the hub errors' first base.
_TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]


def pinned(known: KnownModel) -> KnownModel:
    """The model pinned to a commit: a hub model without a revision gets its main branch's present commit.

    If the hub cannot be reached, main's commit at the last download is taken. Folders and pinned models stay as they
    are.
    """
    if known.folder is not None or known.revision is not None:
        return known
    return replace(known, revision=_download(known, ("config.json",)).name)


def fetch(known: KnownModel) -> Path:
    """The folder of a model's files, downloaded if necessary; safetensors only, never remote code."""
    folder = known.folder or _download(known, _FILES)
    if not (folder / "config.json").is_file():
        raise AssayError(
            f"{known.alias}: {folder} holds no config.json; give the folder of a model in Hugging Face format"
        )
    if not any(folder.glob(WEIGHTS)) and not differences.differs(folder):
        if known.folder is None and constants.HF_HUB_OFFLINE:
            raise Unavailable(_not_here(known, "HF_HUB_OFFLINE is set"))
        raise AssayError(
            f"{known.alias}: its weights are not safetensors, and other formats can run code on loading; "
            "convert them with `AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)`"
        )
    return folder


def require_files(known: KnownModel) -> None:
    """Refuses a model whose files are neither here nor on the hub; downloads no weights."""
    if known.folder is not None or constants.HF_HUB_OFFLINE:
        fetch(known)
    else:
        _download(known, ("config.json",))


def _download(known: KnownModel, files: Sequence[str]) -> Path:
    name, hub = known.alias, known.hub
    try:
        return Path(
            snapshot_download(
                hub, revision=known.revision, allow_patterns=list(files), ignore_patterns=list(_NOT_FILES)
            )
        )
    except GatedRepoError:
        raise Unavailable(
            f"{name}: access to {hub} must be granted by its owners; request it at https://huggingface.co/{hub}, "
            "then run `hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise Unavailable(f"{name}: {hub} has no revision {known.revision}; correct it in data/models.toml") from None
    except RepositoryNotFoundError:
        close = nearest(hub)
        hint = f" (did you mean {close}?)" if close else ""
        raise Unavailable(
            f"{name}: the hub has no model {hub}, or it is private; check the name{hint}, or run `hf auth login` if "
            "it is yours"
        ) from None
    except HFValidationError as error:
        raise AssayError(f"{name}: not a valid hub id ({first_line(error)}); a hub id is org/name") from None
    except LocalEntryNotFoundError:
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise Unavailable(_not_here(known, reason)) from None
    except _TRANSPORT_ERROR as error:
        raise Unavailable(f"{name}: the hub answered {first_line(error)}; try again later") from None
    except OSError as error:
        raise Unavailable(f"{name}: its files could not be stored ({first_line(error)}); free disk space") from None


def _not_here(known: KnownModel, reason: str) -> str:
    revision = f" --revision {known.revision}" if known.revision else ""
    return (
        f"{known.alias}: {reason} and {known.hub} is not on this machine yet; run `hf download "
        f"{known.hub}{revision}` while online"
    )
