from shop.basket import parse, total


def test_a_basket_costs_the_sum_of_its_items():
    assert total(parse(["apple=3", "milk=1"])) == 210


def test_an_empty_basket_costs_nothing():
    assert total({}) == 0
