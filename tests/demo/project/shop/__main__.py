"""`python -m shop apple=3 milk=1` prints the bill."""

import sys

from shop.basket import parse, total

cents = total(parse(sys.argv[1:]))
print(f"to pay: {cents // 100}.{cents % 100:02d} EUR")
