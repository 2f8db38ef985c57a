"""A local page to play with a flow: a caption or a class goes in, and every stage of the way is a picture.

The page is made by gradio (extra ``demo``), which is imported when one is built; everything else here knows
nothing of it. ``flowprior demo RUN`` serves the page.
"""
