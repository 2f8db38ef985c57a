"""
Pictures from captions
======================

The package holds some ten thousand emoji, each with the embedding of its name, so
that nothing is needed to train on captions. The prior of this page knows which
pictures the nearest captions have, and the flow starts there.
"""

import torch

from flowprior import Prior, train
from flowprior.data import load_data
from flowprior.extensions.text.emoji import EmojiData
from flowprior.pictures import beside

emoji = load_data("emoji")
assert isinstance(emoji, EmojiData)
captions = emoji.captions or []  # of each picture
names = list(dict.fromkeys(captions))
print(f"{len(emoji)} pictures of {len(names)} captions: {names[0]}, {names[1]}, …")

# %%
# ``kernel-mean`` starts an embedding at the mean of what its four nearest captions
# look like, plus noise. Nothing is trained for that.

prior = Prior.create("kernel-mean", neighbours=4, bandwidth=0.3, sigma=0.4)
prior.fit(emoji.batches(), generator=torch.Generator().manual_seed(0))

# %%
# The budget of this page is far too small for good pictures; :doc:`/emoji` has the
# recipe for better ones.

flow = train(
    emoji,
    prior=prior,
    coupling="condot",
    model="unet:widths=16-32",
    batch_size=32,
    steps=500,
    seed=0,
)

# %%
# Captions that were trained on. The first panel is what the prior expects, the
# second where the flow starts, the third where it ends. A low temperature draws
# source samples nearer to the mean.

CAPTIONS = ["red heart", "sun", "green apple", "black cat", "soccer ball", "fish"]
asked = emoji.embeddings[[captions.index(caption) for caption in CAPTIONS]]
rows = torch.arange(len(CAPTIONS))
many, places = asked.repeat_interleave(4, 0), rows.repeat_interleave(4)
panels = {"prior's mean": (prior.mean(asked), rows)}
for name, nfe in {"source samples": 0, "eight evaluations": 8}.items():
    drawn = flow.sample(
        many, nfe=nfe, temperature=0.4, generator=torch.Generator().manual_seed(1)
    )
    panels[name] = (drawn, places)

figure = beside(
    panels, names=CAPTIONS, title="Emoji from captions, after a very short training"
)
figure
