"""The objective that a recipe trains, untrained except for its backbone."""

from __future__ import annotations

from typing import TypeAlias

from semcorr.features import FeatureExtractor
from semcorr.features.fine import FineDescriptors
from semcorr.models.configs import PMNCConfig
from semcorr.training.backbone import unfreeze
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
        ModelError: If the backbone cannot be trained.
        DataError: If ``frozen_blocks`` leaves nothing to train.
    """
    frozen, model = recipe.frozen_blocks, recipe.model
    if not isinstance(model, PMNCConfig):
        backbone = None if frozen is None else unfreeze(extractor, frozen)
        return ConsensusModel(model.build(), recipe.loss, backbone, frozen or 0)
    scoring, adapter = model.build().scoring, model.build_adapter(extractor.channels)
    if adapter is None:
        return ProxyModel(scoring, model.votes)
    backbone = None if frozen is None else unfreeze(extractor, frozen)
    scored = Scored(recipe.pairs, recipe.keypoints, recipe.contrast)
    joint = JointModel(scoring, adapter, scored, backbone, frozen or 0, model.votes)
    if not model.fine:
        return joint
    return RefineModel(joint, FineDescriptors(extractor.early_channels, extractor.channels, model.fine))
