"""Runs under another interpreter, the one that has nv-attestation-sdk, and with nothing of this package.

Reads {"nonce", "evidence"} from standard input. Exit status 40: NVIDIA's service accepted, for this very nonce; 41: it
answered and did not; anything else, above all what a crash gives: there was no answer. See `gpu_nvidia`.
"""

import json
import sys

ACCEPTED, REFUSED, NO_ANSWER = 40, 41, 42


def main() -> int:
    try:
        from nv_attestation_sdk.gpu import attest_gpu_remote
        from nv_attestation_sdk.utils import nras_utils, unified_eat_parser
        from nv_attestation_sdk.utils.config import REMOTE_GPU_VERIFIER_SERVICE_URL
    except ImportError as error:
        print(f"nv-attestation-sdk is not installed for {sys.executable}: {error}", file=sys.stderr)
        return NO_ANSWER
    request = json.load(sys.stdin)
    options = {"verifier_url": REMOTE_GPU_VERIFIER_SERVICE_URL}
    accepted, token = attest_gpu_remote.attest(request["nonce"], request["evidence"], options)
    if not token:
        print("the service could not be asked", file=sys.stderr)
        return NO_ANSWER
    overall = unified_eat_parser.get_overall_claims_token(token)
    claims = nras_utils.decode_nras_token(REMOTE_GPU_VERIFIER_SERVICE_URL, overall)
    if not accepted or claims.get("x-nvidia-overall-att-result") is not True:
        print("it refused the evidence")
        return REFUSED
    if str(claims.get("eat_nonce", "")).lower() != request["nonce"].lower():
        print("it accepted evidence for another nonce")
        return REFUSED
    print("it accepted the evidence for this nonce")
    return ACCEPTED


if __name__ == "__main__":
    sys.exit(main())
