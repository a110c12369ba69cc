#!/usr/bin/env bash
# A virtual environment with LiteLLM's proxy, the peer that `make bench` measures beside Comity.
# Usage: benchmarks/litellm.sh   makes $LITELLM_VENV, else .venv-litellm here; does nothing where it holds the pin.
set -euo pipefail
cd "$(dirname "$0")/.."

PIN='litellm[proxy]==1.102.4'
venv=${LITELLM_VENV:-.venv-litellm}
begun=$venv/.comity-begun # written first: this folder is this script's, and may be made anew
stamp=$venv/.comity-made  # written last: it is whole

if [ "$(cat "$stamp" 2>/dev/null)" = "$PIN" ]; then
    echo "litellm: $venv is ready ($PIN)"
    exit
fi
if [ -e "$venv" ] && [ ! -e "$begun" ]; then
    echo "litellm: $venv exists and was not made by this script; remove it or name another folder in LITELLM_VENV" >&2
    exit 1
fi

echo "litellm: making $venv (a minute or two, under 1 GB)"
rm -rf "$venv"
mkdir -p "$venv"
touch "$begun"
"${PYTHON:-python3}" -m venv "$venv"
echo '*' >"$venv/.gitignore"
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$PIN"
echo "$PIN" >"$stamp"
echo "litellm: $venv is ready ($PIN)"
