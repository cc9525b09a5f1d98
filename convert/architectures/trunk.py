"""What every backbone is once it is built: a module that gives features in the forms that its architecture has."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from twinbench.convert.named import ModelError

POOLED, TOKENS, MAPS = "pooled", "tokens", "maps"  # forms of features
# What a backbone may be used for beyond its features: `plain` is a vision transformer that ViTDet can rebuild.
TRAINING, DETECTOR, PLAIN = "training", "detector", "plain"
PATCHES = "patches"  # of either kind: what a transformer's last block or the last stage gives for places of an image


@dataclass(frozen=True)
class Tokens:
    """What a block of a transformer gives for N images: one row for the image, further ones, and one a patch."""

    image: Tensor | None  # the class token (N, C); None where there is none
    registers: Tensor  # (N, R, C), R = 0 where there are none
    patches: Tensor  # (N, C, h, w)


class Trunk(nn.Module):
    """A network without its head. Images (N, 3, H, W) come normalised as the backbone's input convention says.

    `name` is its architecture's. `offers` are the forms of features that it has: `pooled`, a row an image, is what
    calling it gives; `tokens` and `maps` are its methods' of that name.
    """

    name: str
    offers: frozenset[str] = frozenset({POOLED})

    def tokens(self, images: Tensor, last: int = 1, *, normed: bool = True) -> Sequence[Tokens]:
        """Return the tokens after each of the `last` blocks, the final block's last.

        All of them by the network's last norm, as its own output is, unless `normed` is false.
        """
        raise self.lacks(TOKENS, "tokens of a transformer")

    def maps(self, images: Tensor, last: int = 4) -> Sequence[Tensor]:
        """Return the maps (N, C, h, w) after each of the `last` stages, the smallest map last."""
        raise self.lacks(MAPS, "maps of several stages")

    def fix_positions(self) -> None:
        """Keep position embeddings as the last images had them, and train these: all further images are of one size."""

    @property
    def grain(self) -> int:
        """What the sides of its images must be multiples of, in pixels: a transformer's patches have no parts."""
        return 1

    def stages(self) -> Sequence[nn.Module]:
        """Return the four modules whose outputs are the last four maps; nothing where they are not known."""
        return ()

    def stem(self) -> nn.Module | None:
        """Return the module whose output is a ResNet's map before its first pooling (VISSL's conv1); None elsewhere."""
        return None

    def lacks(self, form: str, words: str) -> ModelError:
        """Return the error of who asks for features that this architecture does not have."""
        return ModelError(f"{self.name}: has no {words} ({form}); it offers {', '.join(sorted(self.offers))}")
