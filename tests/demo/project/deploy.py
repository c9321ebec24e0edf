"""Deploy the shop, if that is allowed today."""

import sys

print("deploying shop 1.0 to production")
print("refused: production is frozen until the audit is signed", file=sys.stderr)
sys.exit(3)
