#!/bin/sh
# Debian's Chromium, in which the tests walk the pages of medclip serve; they are skipped where it cannot be installed.
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null && exit 0
fi
echo "No Chromium could be installed (apt-get, as root): the tests of pages in a browser are skipped."
