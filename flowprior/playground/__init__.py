"""A local page to play with a flow: a caption or a class goes in, and every stage of the way is a picture.

The page is made by gradio (extra ``demo``), which is imported when one is built; everything else here knows
nothing of it. ``flowprior demo RUN`` serves the page.
"""

from flowprior.playground.answer import PICTURES, draw_stages
from flowprior.playground.fields import Field, condition_of, fields_of
from flowprior.playground.serving import check_extra, serve

__all__ = ["PICTURES", "Field", "check_extra", "condition_of", "draw_stages", "fields_of", "serve"]
