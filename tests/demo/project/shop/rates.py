"""Exchange rates from the rate service, which computes them when it is first asked and has them from then on."""

import json
import os
from pathlib import Path


def rate(currency: str) -> float:
    """How much of a currency one euro buys."""
    service = Path(os.environ["SHOP_RATES"])
    if not service.exists():
        service.write_text(json.dumps({"EUR": 1.0, "USD": 1.25}))
        raise TimeoutError("the rate service did not answer within 2 seconds")
    return json.loads(service.read_text())[currency]
