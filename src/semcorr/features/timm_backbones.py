"""Backbones by timm name: check the name, build the network, load its weights and probe it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semcorr.errors import ModelError, did_you_mean
from semcorr.features import efficientnet_lite
from semcorr.features.architecture import DEVIATION, MEAN, SCALES, choose_stages
from semcorr.features.download import download
from semcorr.features.fold import fold_batch_norm
from semcorr.features.options import FeatureOptions, network_size
from semcorr.files import one_line
from semcorr.weights import BACKBONES, read_weights


def build_network(options: FeatureOptions) -> nn.Module:
    """Build a timm network up to the last stage that is used, and load its weights.

    Raises:
        ModelError: If the backbone or its stages are unknown, or its weights cannot be downloaded or do not fit.
    """
    name = options.backbone
    _check_name(name)
    stages = _chosen_stages(options)
    tensors = _local_weights(options)
    try:
        if options.weights == "auto" and tensors is None:
            network = download(name, lambda: _create(name, pretrained=True, out_indices=stages))
        else:
            network = _create(name, pretrained=False, out_indices=stages)
    except ModelError:
        raise
    except Exception as error:  # timm raises many kinds; all mean the same to the user
        raise ModelError(f"backbone {name!r} cannot be built: {one_line(error)}") from error
    if tensors is not None:
        _load_timm(network, tensors, name)
    return network.eval()


def _check_name(name: str) -> None:
    architecture = name.split(".")[0]
    if architecture in SCALES:
        return
    import timm  # takes seconds, and the backbones in the package do not need it

    if not timm.is_model(architecture):
        hint = did_you_mean(architecture, timm.list_models())
        raise ModelError(f"unknown backbone {name!r}{hint}; timm.list_models() lists all names")


def _create(name: str, pretrained: bool, out_indices: tuple[int, ...] | None = None) -> nn.Module:
    """Create a timm feature network; vision transformers are configured to accept any image size."""
    if name.split(".")[0] in SCALES and not pretrained:
        return efficientnet_lite.EfficientNetLite(name.split(".")[0], out_indices)
    import timm

    keywords: dict[str, Any] = {"pretrained": pretrained}
    if out_indices is not None:
        keywords["out_indices"] = out_indices
    try:
        network: nn.Module = timm.create_model(name, features_only=True, dynamic_img_size=True, **keywords)
    except TypeError:  # not a vision transformer
        network = timm.create_model(name, features_only=True, **keywords)
    return network


def _chosen_stages(options: FeatureOptions) -> tuple[int, ...]:
    """Check the requested stages, or choose the last of stride 16 and the last of stride 32, or else the very last."""
    try:
        with torch.device("meta"):
            strides = [
                int(stage["reduction"]) for stage in stage_info(_create(options.backbone, pretrained=False)).info
            ]
    except Exception as error:
        raise ModelError(f"backbone {options.backbone!r} does not return feature maps: {one_line(error)}") from error
    return choose_stages(options.stages, strides, options.backbone)


def _local_weights(options: FeatureOptions) -> dict[str, Tensor] | None:
    """Read the weights from the given file or from the package; None if they are to be downloaded or random."""
    if options.weights == "auto":
        embedded = BACKBONES.get(options.backbone.split(".")[0])
        return embedded.load().tensors if embedded is not None else None
    return None if options.weights == "random" else _read_file(Path(options.weights), options.backbone)


def _read_file(path: Path, name: str) -> dict[str, Tensor]:
    """Read the weights of a timm model from a file; apart from the classifier, it may contain no other tensors."""
    import timm

    if not path.is_file():
        raise ModelError(f"no backbone weights found at {path}: give the path of a safetensors file")
    tensors = read_weights(path).tensors
    with torch.device("meta"):
        model: Any = timm.create_model(name, pretrained=False)
    classifier = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{head}." for head in ([classifier] if isinstance(classifier, str) else classifier))
    expected = {*model.state_dict(), *dict(model.named_buffers())}  # older files have buffers that timm no longer saves
    _refuse("not known to", [key for key in tensors if key not in expected and not key.startswith(heads)], name)
    return tensors


def _load_timm(network: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    """Load a timm model's tensors into the feature network derived from it; each tensor of the network must fit."""
    # the feature network names its tensors like the model, except for a prefix and underscores in place of dots
    given = {key.replace(".", "_"): value for key, value in tensors.items()}
    state = network.state_dict()
    names = {key: key.removeprefix("model.").removeprefix("body.").replace(".", "_") for key in state}
    _refuse("missing for", [k for k in state if names[k] not in given and not k.endswith("num_batches_tracked")], name)
    loaded = {key: given[names[key]] for key in state if names[key] in given}
    _refuse("of another shape than in", [key for key in loaded if loaded[key].shape != state[key].shape], name)
    network.load_state_dict(loaded, strict=False)


def load_tuned(network: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    """Load the weights of a backbone that was trained with a model; every tensor must fit.

    Raises:
        ModelError: If a tensor does not fit.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"the trained backbone does not fit {name!r}: {one_line(error)}") from error


def _refuse(problem: str, keys: list[str], name: str) -> None:
    if keys:
        more = f" and {len(keys) - 1} more" if keys[1:] else ""
        raise ModelError(
            f"the weights do not fit: {keys[0]}{more} {problem} these stages of {name!r}; give timm's weights for it"
        )


@torch.no_grad()
def probe_network(network: nn.Module, options: FeatureOptions) -> tuple[nn.Module, int]:
    """Run the network once on an image with aspect ratio 4:3, and fold its batch norms.

    Returns:
        The network, and the number of pixels that its input height and width must be multiples of: the stride of its
        finest stage, or of its coarsest if the network requires that.

    Raises:
        ModelError: If the network does not accept images of any size, or its stages differ from timm's description.
    """
    info = stage_info(network)
    # the backbones in the package are known to accept any size: a small image suffices, and is fast
    side = 64 if options.backbone in BACKBONES else options.image_size
    for stride in sorted({min(info.reduction()), max(stage["reduction"] for stage in info.info)}):
        height, width = network_size((3, 4), side, stride)
        probe = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        try:
            stages = network(probe)
        except Exception as error:  # every network has its own way to fail
            failure = error
            continue
        axis = 3 if is_nhwc(network) else 1
        if [stage.shape[axis] if stage.ndim == 4 else 0 for stage in stages] != info.channels():
            shapes = [tuple(stage.shape) for stage in stages]
            raise ModelError(
                f"backbone {options.backbone!r} should return maps with {info.channels()} channels; got shapes {shapes}"
            )
        return fold_batch_norm(network, probe, stages), stride
    raise ModelError(
        f"backbone {options.backbone!r} cannot process an image of {height} × {width} pixels: {one_line(failure)} — "
        "choose a backbone that accepts images of any size"
    ) from failure


def stage_info(network: nn.Module) -> Any:
    """Return timm's description of the stages: channels, strides, names."""
    return network.feature_info


def is_nhwc(network: nn.Module) -> bool:
    """Return whether timm's feature network returns channels last, as Swin does."""
    return getattr(network, "output_fmt", "NCHW") == "NHWC"


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation, per channel in 0…1, that the backbone's weights expect of pixels."""
    if name.split(".")[0] in SCALES:
        return MEAN, DEVIATION
    import timm

    config = timm.get_pretrained_cfg(name)
    return (config.mean, config.std) if config is not None else ((0.5,) * 3, (0.5,) * 3)
