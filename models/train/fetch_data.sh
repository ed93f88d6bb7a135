#!/bin/sh
# Rebuild the training pictures from pinned npm packages:
#   sh fetch_data.sh OUTPUT_FOLDER [video]
# With `video` also the animations, four packages of about 160 MB.
# Needs npm, tar and Python with Pillow and numpy.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
npm pack --silent @lobehub/fluent-emoji-3d@1.1.0 emojibase-data@17.0.0
mkdir -p fluent emojibase
tar -xzf lobehub-fluent-emoji-3d-1.1.0.tgz -C fluent
tar -xzf emojibase-data-17.0.0.tgz -C emojibase package/en/data.json
python3 "$here/pack_sprites.py" fluent/package/assets emojibase/package/en/data.json .
[ "${2:-}" = video ] || exit 0
for part in 1 2 3 4; do
	npm pack --silent "@lobehub/fluent-emoji-anim-$part@1.0.0"
	mkdir -p "animated-$part"
	tar -xzf "lobehub-fluent-emoji-anim-$part-1.0.0.tgz" -C "animated-$part"
done
python3 "$here/pack_animations.py" fluent/package/assets emojibase/package/en/data.json . \
	animated-1/package/assets animated-2/package/assets animated-3/package/assets animated-4/package/assets
