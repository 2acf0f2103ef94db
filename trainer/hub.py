"""Loads models and tokenizers from a folder or the hub, within seconds also when the hub cannot be reached.

What comes from there is data. No code of it is ever executed, and nothing is sent.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from transformers.utils import logging

from foldrace.errors import FoldraceError, did_you_mean
from foldrace.studies.sections import TINY

HUB_TIMEOUT_SECONDS = 5.0  # for the answer to the first request
GIVE_FOLDER = "--set model.name=FOLDER"  # how a command is given a model's folder
_WEIGHTS = ("model.", "model-", "pytorch_model")  # with this a file of a whole model's weights begins

# Otherwise transformers asks a service of the hub to convert a model that has its weights in the older format only.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")


class ModelError(FoldraceError):
    """The model or its tokenizer cannot be loaded."""


def load_pretrained(auto: Any, name: str | Path, what: str, **options: Any) -> Any:
    """What `auto.from_pretrained` loads from a folder or the hub. Without a connection, it loads from the hub's cache.

    Args:
        auto: one of the Auto classes of transformers.
        what: the name that errors have for what it loads.
        options: of `from_pretrained`.

    Raises:
        ModelError: it is not there, or it does not load.
    """
    is_local = Path(name).is_dir() or not _hub_answers(str(name))
    try:
        with silent_transformers():
            return auto.from_pretrained(name, trust_remote_code=False, local_files_only=is_local, **options)
    except Exception as error:  # tokenizers, safetensors and transformers raise errors that share no base
        raise ModelError(load_failure(str(name), what, error)) from error


def load_failure(name: str, what: str, error: Exception) -> str:
    """One line that says what could not be loaded, why, and what would be right."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if isinstance(error, ImportError):
        return f"model.name: the {what} of {name} needs a package that is not installed: {reason}"
    if Path(name).is_dir():
        return _adapter(name) or _own_code(name, what) or _unreadable_folder(name, what, reason)
    if name.startswith(("/", ".", "~")):
        return f"model.name: no folder {name}; give one that save_pretrained wrote: {GIVE_FOLDER}"
    if "custom code" in reason:
        return _needs_code(name, what)
    near = "" if "/" in name else did_you_mean(name, [TINY])
    return (
        f"model.name: no {what} {name!r} here or on the hub ({reason});{near} "
        f"without a connection, download it elsewhere and give its folder: {GIVE_FOLDER}"
    )


def refuse_adapter(name: str) -> None:
    """Raise ModelError for a folder that holds an adapter and no model: with `peft`, its base model would load."""
    if problem := _adapter(name):
        raise ModelError(problem)


def _adapter(folder: str) -> str:
    """What is wrong with a folder that holds an adapter without a model; empty where that is not so."""
    if not (Path(folder) / "adapter_config.json").is_file():
        return ""
    if any(file.name.startswith(_WEIGHTS) for file in Path(folder).iterdir()):
        return ""
    config = _read_config(folder, "adapter_config.json")
    kind = config.get("peft_type", "no peft_type")
    base = config.get("base_model_name_or_path") or config.get("model_name") or "its base model"
    return (
        f"model.name: the folder {folder} holds an adapter ({kind}) of {base}, not a "
        "whole model; merge the two (peft: merge_and_unload), save model and tokenizer, and give that folder"
    )


def _own_code(folder: str, what: str) -> str:
    """What is wrong with a folder whose model or tokenizer is code of its own; empty where it is not."""
    config, code = (
        ("tokenizer_config.json", "tokenization_*.py") if what == "tokenizer" else ("config.json", "*model*.py")
    )
    is_code = bool(_read_config(folder, config).get("auto_map")) or any(Path(folder).glob(code))
    return _needs_code(folder, what) if is_code else ""


def _needs_code(name: str, what: str) -> str:
    return (
        f"model.name: the {what} of {name} is code of its own (auto_map), which foldrace never executes; "
        "give a model whose classes are in transformers, or write this one anew as such"
        f"{', with a tokenizer.json' if what == 'tokenizer' else ''}"
    )


def _unreadable_folder(name: str, what: str, reason: str) -> str:
    return f"model.name: the folder {name} holds no {what} that loads ({reason}); save one with save_pretrained"


def _read_config(folder: str, file: str) -> dict[str, Any]:
    """A JSON file of a folder; empty where it cannot be read."""
    with suppress(OSError, ValueError):
        found = json.loads((Path(folder) / file).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


@cache
def _hub_answers(name: str) -> bool:
    """Whether the hub answers one request. Its own library would go on asking for most of a minute."""
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=HUB_TIMEOUT_SECONDS)
    except HfHubHTTPError:
        return True
    except Exception:  # no connection, offline mode, not a hub name: errors that share no base
        return False
    return True


@contextmanager
def silent_transformers() -> Iterator[None]:
    """Turn off the progress bars of transformers and its table of new weights. A new classifier is expected."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
