#!/usr/bin/env python3
"""Deploy Cocoon's Registry and Slashing: build check, plan, confirmation, one transaction, verification on chain.

python deploy.py --network testnet --mnemonic-file words.txt --rules rules.json
python deploy.py --network mainnet ... --offline deployment.boc --seqno 7      # on a machine without a network
python deploy.py --network mainnet --send deployment.boc                       # on a machine without the key
"""

import sys

try:
    from cocoon.deploy_command import main
except ModuleNotFoundError as error:
    sys.exit(f"deploy: {error}; run `make .venv/.installed` once, then use .venv/bin/python deploy.py")

if __name__ == "__main__":
    main()
