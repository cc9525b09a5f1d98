"""From a recipe to Detectron2's configuration."""
