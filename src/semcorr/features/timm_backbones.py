"""Backbones by their timm names: checked, created, given their weights, and tried out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semcorr.errors import ModelError, did_you_mean
from semcorr.features import efficientnet_lite
from semcorr.features.download import download
from semcorr.features.fold import fold_batch_norm
from semcorr.features.options import FeatureOptions
from semcorr.files import one_line
from semcorr.geometry import Size, grid_for
from semcorr.weights import BACKBONES, read_weights


def build_network(options: FeatureOptions) -> nn.Module:
    """Create the timm network cut down to the stages that are used, with its weights."""
    name = options.backbone
    _check_name(name)
    stages = _chosen_stages(options)
    tensors = _weights_at_hand(options)
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
    if architecture in efficientnet_lite.SCALES:
        return
    import timm  # it takes seconds, which the backbones of the package do without

    if not timm.is_model(architecture):
        hint = did_you_mean(architecture, timm.list_models())
        raise ModelError(f"unknown backbone {name!r}{hint}; timm.list_models() lists all")


def _create(name: str, pretrained: bool, out_indices: tuple[int, ...] | None = None) -> nn.Module:
    """Create a timm feature network; vision transformers are told to take any picture size."""
    if name.split(".")[0] in efficientnet_lite.SCALES and not pretrained:
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
    """Check the wanted stages, or choose the last of stride 16 and the last of stride 32, or else the very last."""
    try:
        with torch.device("meta"):
            strides = [
                int(stage["reduction"]) for stage in stage_info(_create(options.backbone, pretrained=False)).info
            ]
    except Exception as error:
        raise ModelError(f"backbone {options.backbone!r} gives no feature maps: {one_line(error)}") from error
    if options.stages is None:
        last = {stride: index for index, stride in enumerate(strides)}
        return tuple(last[stride] for stride in (16, 32) if stride in last) or (len(strides) - 1,)
    count = len(strides)
    chosen = sorted({stage % count for stage in options.stages if -count <= stage < count})
    if len(chosen) < len(options.stages):
        raise ModelError(
            f"stages {options.stages} do not fit {options.backbone!r}: choose different ones from 0 to {count - 1}, "
            f"whose strides are {strides}"
        )
    return tuple(chosen)


def _weights_at_hand(options: FeatureOptions) -> dict[str, Tensor] | None:
    """Return the tensors that need no network: those of a file, or those inside the package."""
    if options.weights == "auto":
        embedded = BACKBONES.get(options.backbone.split(".")[0])
        return embedded.load().tensors if embedded is not None else None
    return None if options.weights == "random" else _read_file(Path(options.weights), options.backbone)


def _read_file(path: Path, name: str) -> dict[str, Tensor]:
    """Read a file of a timm model's weights, and refuse it if it holds any other tensor; the classifier may differ."""
    import timm

    if not path.is_file():
        raise ModelError(f"no backbone weights at {path}: give the path of a safetensors file")
    tensors = read_weights(path).tensors
    with torch.device("meta"):
        model: Any = timm.create_model(name, pretrained=False)
    classifier = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{head}." for head in ([classifier] if isinstance(classifier, str) else classifier))
    known = {*model.state_dict(), *dict(model.named_buffers())}  # older files hold buffers that timm stores no more
    _refuse("not known to", [key for key in tensors if key not in known and not key.startswith(heads)], name)
    return tensors


def _load_timm(network: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    """Load a timm model's tensors into the feature network that was cut out of it; every one that it has must fit."""
    # the cut-out network calls its tensors as the model does, but for a prefix and for dots that became underscores
    given = {key.replace(".", "_"): value for key, value in tensors.items()}
    own = network.state_dict()
    names = {key: key.removeprefix("model.").removeprefix("body.").replace(".", "_") for key in own}
    _refuse("missing for", [k for k in own if names[k] not in given and not k.endswith("num_batches_tracked")], name)
    found = {key: given[names[key]] for key in own if names[key] in given}
    _refuse("of another shape than in", [key for key in found if found[key].shape != own[key].shape], name)
    network.load_state_dict(found, strict=False)


def load_tuned(network: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    """Load the weights of a backbone that was trained with a model; every tensor must fit.

    Raises:
        ModelError: If one does not.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"the trained backbone does not fit {name!r}: {one_line(error)}") from error


def _refuse(problem: str, keys: list[str], name: str) -> None:
    if keys:
        more = f" and {len(keys) - 1} more" if keys[1:] else ""
        raise ModelError(
            f"the weights do not fit: {keys[0]}{more} {problem} these stages of {name!r}; give timm's file of it"
        )


@torch.no_grad()
def try_out(network: nn.Module, options: FeatureOptions) -> tuple[nn.Module, int]:
    """Run the network once on a picture of 3:4, and fold its batch norms.

    Returns:
        The network, and the number of pixels whose multiples its input must measure: the stride of its finest stage,
        or that of its coarsest where it takes no other.

    Raises:
        ModelError: If it cannot take pictures of any size, or its stages are not what timm says.
    """
    info = stage_info(network)
    # those of the package are known to take any size: a small picture is enough, and quick
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
            raise ModelError(f"backbone {options.backbone!r} gives no maps of {info.channels()} channels but {shapes}")
        return fold_batch_norm(network, probe, stages), stride
    raise ModelError(
        f"backbone {options.backbone!r} cannot take a picture of {height} × {width} pixels: {one_line(failure)} — "
        "choose a backbone that takes pictures of any size"
    ) from failure


def network_size(image_size: Size, side: int, stride: int) -> Size:
    """Return height and width in pixels at which a network sees a picture: about ``side²`` pixels, whole strides."""
    rows, columns = grid_for(image_size, max(1, round(side / stride)))
    return rows * stride, columns * stride


def stage_info(network: nn.Module) -> Any:
    """Return timm's description of the stages: channels, strides, names."""
    return network.feature_info


def is_nhwc(network: nn.Module) -> bool:
    """Say whether timm's feature network puts the channels last, as Swin does."""
    return getattr(network, "output_fmt", "NCHW") == "NHWC"


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and deviation of the pixels that the backbone's weights were trained with."""
    if name.split(".")[0] in efficientnet_lite.SCALES:
        return efficientnet_lite.MEAN, efficientnet_lite.DEVIATION
    import timm

    config = timm.get_pretrained_cfg(name)
    return (config.mean, config.std) if config is not None else ((0.5,) * 3, (0.5,) * 3)
