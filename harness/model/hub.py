"""From a model's name to its files: the one place that downloads, and that finds the commit a hub id stands for."""

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
from harness.inputs.files.library_calls import first_line
from harness.inputs.model_catalog import KnownModel, nearest
from harness.inputs.weight_files import WEIGHTS

# What a chat model needs from the hub; never pickles, never code.
_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model")
# Second copies of the weights that some repositories hold beside them.
_NOT_FILES = ("original/*", "consolidated*", "onnx/*")
# The hub's HTTP client differs between its releases; its errors are the base of the hub's own.
_TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]


def pinned(known: KnownModel) -> KnownModel:
    """A hub model without a revision, at the commit to which its main branch leads now; any other as it is.

    Where the hub cannot be reached, main is where it led when the model was last downloaded.
    """
    if known.folder is not None or known.revision is not None:
        return known
    return replace(known, revision=_download(known, ("config.json",)).name)


def fetch(known: KnownModel) -> Path:
    """The folder of a model's files, downloaded if need be; safetensors only, never remote code."""
    folder = known.folder or _download(known, _FILES)
    if not (folder / "config.json").is_file():
        raise AssayError(f"{known.alias}: {folder} holds no config.json; give the folder of a HF model")
    if not any(folder.glob(WEIGHTS)):
        if known.folder is None and constants.HF_HUB_OFFLINE:
            raise Unavailable(_not_here(known, "HF_HUB_OFFLINE is set"))
        raise AssayError(
            f"{known.alias}: its weights are not safetensors, and other formats can run code on loading; "
            "convert them with `AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)`"
        )
    return folder


def require_files(known: KnownModel) -> None:
    """One sentence if the files cannot be had; downloads no weights."""
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
            f"{name}: access to {hub} is granted by its owners; ask for it at https://huggingface.co/{hub}, "
            "then `hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise Unavailable(f"{name}: {hub} has no revision {known.revision}; correct it in data/models.toml") from None
    except RepositoryNotFoundError:
        close = nearest(hub)
        hint = f" (did you mean {close}?)" if close else ""
        raise Unavailable(
            f"{name}: the hub has no model {hub}, or it is private; check the name{hint}, or `hf auth login` if it "
            "is yours"
        ) from None
    except HFValidationError as error:
        raise AssayError(f"{name}: not a hub id ({first_line(error)})") from None
    except LocalEntryNotFoundError:
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise Unavailable(_not_here(known, reason)) from None
    except _TRANSPORT_ERROR as error:
        raise Unavailable(f"{name}: the hub answered {first_line(error)}; try again later") from None
    except OSError as error:
        raise Unavailable(f"{name}: its files could not be stored ({first_line(error)}); free some disk") from None


def _not_here(known: KnownModel, reason: str) -> str:
    revision = f" --revision {known.revision}" if known.revision else ""
    return (
        f"{known.alias}: {reason} and {known.hub} is not on this machine yet; run `hf download "
        f"{known.hub}{revision}` while online"
    )
