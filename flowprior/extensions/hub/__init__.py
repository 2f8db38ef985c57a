"""The Hugging Face Hub (extra ``hub``), and the model card that is written beside every saved flow."""

from flowprior.extensions.hub.repository import from_pretrained, push_folder, push_to_hub

__all__ = ["from_pretrained", "push_folder", "push_to_hub"]
