"""The discriminator of fine-tuning, which hears clips as the feature network does and goes on learning what gives them away.

What networks hear that stay as they are is soon used up: a generator comes as near to music as they tell, and another network
still hears the difference. So the convolutions of the feature network, which know genres and artists, are where this one begins.
"""

from __future__ import annotations

import copy
import math

from torch import Tensor, nn

from training.feature_network import WIDTHS, SmallFilters, TunedThrough


class SoundDiscriminator(nn.Module):
    """MusiCNN's log-mel Tensor[B x PATCH_FRAMES x N_MELS] and genres (B,) to logits Tensor[B x n] of its parts.

    With a hinge loss, projection of genres (Miyato & Koyama, "cGANs with projection discriminator", ICLR 2018) and R1.
    """

    def __init__(self, network: TunedThrough, n_genres: int):
        super().__init__()
        self.filters: SmallFilters = copy.deepcopy(network.filters).float().requires_grad_(True)  # whose norms stay as they are
        self.score = nn.Linear(WIDTHS[-1], 1)
        self.of_genres = nn.Embedding(n_genres, WIDTHS[-1])
        for part in (self.score, self.of_genres):  # nothing is sure before it is learned
            nn.init.zeros_(part.weight)

    def forward(self, log_mel: Tensor, genre_ids: Tensor) -> Tensor:
        found = self.filters(log_mel)[-1].flatten(2).transpose(1, 2)  # (B, n, C)
        of_genre = (found * self.of_genres(genre_ids)[:, None]).sum(2) / math.sqrt(WIDTHS[-1])
        return self.score(found)[..., 0] + of_genre
