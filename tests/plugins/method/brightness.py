"""A method of one's own: training images that are as bright as the generated one."""

from dataclasses import dataclass

from tdattr.methods import Context, Method, Scored, Scorer


@dataclass(frozen=True)
class Brightness(Method):
    """Minus the difference of the mean pixel values, to a ``power``."""

    name: str
    power: float

    def start(self, context: Context) -> Scorer:
        """What all queries share, here the means of the training images; then the scores of one query."""
        means = context.data.train.images(context.ids).mean((1, 2, 3))
        queries = context.queries.images.mean((1, 2, 3))
        return lambda query: Scored(-((means - queries[query]).abs() ** self.power))
