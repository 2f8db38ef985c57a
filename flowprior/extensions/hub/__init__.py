"""The Hugging Face Hub (extra ``hub``), and the model card that is written beside every saved flow."""

from flowprior.extensions.hub.repository import from_pretrained, pull_flow, push_folder, push_to_hub

__all__ = ["from_pretrained", "pull_flow", "push_folder", "push_to_hub"]
