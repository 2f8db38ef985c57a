"""A local page to play with a flow: a caption or a class goes in, and every stage of the way is a picture.

``page`` and ``serving`` import gradio (extra ``demo``); everything else here knows nothing of it.
``flowprior demo RUN`` serves the page.
"""
