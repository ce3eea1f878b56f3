"""Without a network, a backbone's weights are refused at once, and the message says what to do."""

import socket
import time

import pytest
import torch

import semcorr
from semcorr.errors import ModelError


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A machine without a name server, a proxy or a cache of weights."""
    from huggingface_hub import constants

    def refused(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return constants


def test_no_network(offline):
    start, before = time.perf_counter(), offline.HF_HUB_OFFLINE
    with pytest.raises(ModelError) as caught:
        semcorr.load(backbone="resnet18")
    assert time.perf_counter() - start < 30  # and not a minute of retries, on however busy a machine
    message = str(caught.value)
    assert "no connection to huggingface.co" in message
    assert "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors" in message
    assert "--backbone-weights" in message
    assert "\n" not in message
    assert message.endswith("backbone_weights=)")
    assert before == offline.HF_HUB_OFFLINE


def test_no_network_is_needed_for_random_weights(offline):
    model = semcorr.load("nearest", backbone="resnet18", backbone_weights="random", image_size=64, grid=4)
    assert torch.isfinite(model.encode(torch.rand(3, 64, 64)).features.tensor).all()
