"""Baskets: how many of what, and what that costs in cents."""

PRICES = {"apple": 30, "bread": 250, "milk": 120}


def parse(words: list[str]) -> dict[str, int]:
    """A basket from words as `apple=3`."""
    return {name: int(count) for name, _, count in (word.partition("=") for word in words)}


def total(basket: dict[str, int]) -> int:
    """The price of a basket."""
    return sum(PRICES[name] * count for name, count in basket.items())
