"""Weights that timm downloads: without a network, an answer at once and not after a minute of retries."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

from semcorr.errors import ModelError
from semcorr.files import one_line

TIMEOUT = 5
"""Seconds to wait for a connection to the server of the weights."""

Built = TypeVar("Built")


def download(name: str, create: Callable[[], Built]) -> Built:
    """Create a network whose weights timm downloads, or reads from its cache.

    Args:
        name: timm's name of the backbone.
        create: Creates the network.

    Raises:
        ModelError: If the weights are not cached and cannot be downloaded; the message says where they are, and how
            to give them as a file.
    """
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT
    reachable = _is_reachable(constants.ENDPOINT)
    try:
        if reachable:
            return create()
        with _cache_only():
            return create()
    except Exception as error:  # timm and its hub raise many kinds; all mean the same to the user
        reason = one_line(error) if reachable else f"no connection to {host}"
        raise ModelError(
            f"the weights of backbone {name!r} could not be downloaded: {reason}; get {_address(name)} on another "
            "machine, and give the file with --backbone-weights (in Python, backbone_weights=)"
        ) from error


def _is_reachable(address: str) -> bool:
    """Tell whether a server answers; behind a proxy, which alone can tell, it is taken to."""
    parts = urlsplit(address)
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    try:
        with socket.create_connection((parts.hostname, parts.port or 443), TIMEOUT):
            return True
    except OSError:
        return False


@contextmanager
def _cache_only() -> Iterator[None]:
    """Let the hub look into its cache alone, as HF_HUB_OFFLINE=1 does for a whole process."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _address(name: str) -> str:
    from huggingface_hub import constants
    from timm import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    known = getattr(config, "hf_hub_id", None)
    return f"{constants.ENDPOINT}/{known}/resolve/main/model.safetensors" if known else "timm's file of it"
