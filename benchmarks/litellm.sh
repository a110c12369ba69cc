#!/usr/bin/env bash
# LiteLLM's proxy, the peer that `make bench` measures beside Comity, as the tests have it: see .ci/litellm.
set -euo pipefail
exec "$(dirname "$0")/../.ci/litellm" "$@"
