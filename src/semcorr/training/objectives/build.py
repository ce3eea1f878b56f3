"""The objective that a recipe trains, untrained except for its backbone."""

from __future__ import annotations

from typing import TypeAlias

import torch

from semcorr.errors import DataError
from semcorr.features import FeatureExtractor
from semcorr.features.fine import FineDescriptors
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.models.building import build_adapter, build_matcher
from semcorr.models.configs import PMNCConfig
from semcorr.training.backbone import Backbone, train_from
from semcorr.training.objectives.dense import ConsensusModel
from semcorr.training.objectives.fine import RefineModel
from semcorr.training.objectives.joint import JointModel, Scored
from semcorr.training.objectives.proxy import ProxyModel
from semcorr.training.recipe import TrainingRecipe

Objective: TypeAlias = ProxyModel | JointModel | ConsensusModel | RefineModel


def build_objective(recipe: TrainingRecipe, extractor: FeatureExtractor) -> Objective:
    """Build the objective of a recipe.

    Args:
        recipe: The recipe.
        extractor: The backbone; an objective that trains it takes over its network.

    Raises:
        DataError: If ``train_from`` leaves nothing to train, or the backbone has no stage for fine descriptors.
    """
    backbone, model = None, recipe.model
    if isinstance(model, PMNCConfig) and model.fine and not extractor.early_channels:
        raise DataError(
            f"fine descriptors need an EfficientNet-Lite, whose early stage they read; {model.features.backbone!r} is "
            "another backbone: set fine to 0"
        )
    if recipe.train_from is not None:
        backbone = train_from(extractor, recipe.train_from, recipe.checkpointing)
    if not isinstance(model, PMNCConfig):
        return ConsensusModel(build_matcher(model), recipe.loss, backbone)
    scoring, adapter = build_matcher(model).scoring, build_adapter(model, extractor.channels)
    if adapter is None and backbone is None:
        return ProxyModel(scoring, model.votes)
    scored = Scored(recipe.pairs, recipe.keypoints, recipe.contrast, recipe.min_shared)
    joint = JointModel(scoring, adapter, scored, backbone, model.votes, recipe.least_share)
    if not model.fine:
        return joint
    fine = FineDescriptors(extractor.early_channels, extractor.channels, model.fine)
    return RefineModel(joint, fine, recipe.fine_only)


def backbone_of(objective: Objective) -> Backbone | None:
    """Return the backbone that an objective trains, if it trains one."""
    part = objective.joint if isinstance(objective, RefineModel) else objective
    return None if isinstance(part, ProxyModel) else part.backbone


@torch.no_grad()
def read_filtered_only(objective: Objective) -> None:
    """Set the weights of the unfiltered correlation to zero, as in the paper, which scores the filtered map alone."""
    for module in objective.modules():
        if isinstance(module, ScoringFunction):
            module.window[:, :-1] = 0
            module.centre[:-1] = 0
