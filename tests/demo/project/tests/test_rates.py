from shop.rates import rate


def test_a_euro_buys_more_than_a_dollar():
    assert rate("USD") > 1
