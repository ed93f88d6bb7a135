#!/bin/sh
# Rebuild the training pictures from pinned npm packages:
#   sh fetch_data.sh OUTPUT_FOLDER
# Needs npm, tar and Python.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
npm pack --silent @lobehub/fluent-emoji-3d@1.1.0 emojibase-data@17.0.0
mkdir -p fluent emojibase
tar -xzf lobehub-fluent-emoji-3d-1.1.0.tgz -C fluent
tar -xzf emojibase-data-17.0.0.tgz -C emojibase package/en/data.json
python3 "$here/pack_sprites.py" fluent/package/assets emojibase/package/en/data.json .
